// SPDX-License-Identifier: Apache-2.0
//
// The promises of op classes and their sets: five distinct sets, each a lane, and which covers
// which.
#include <streamgate/policies/op_class.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <set>
#include <string>
#include <vector>

namespace streamgate::policies {
namespace {

TEST(OpClass, NameLeadsBackToTheClass) {
  for (const OpClass op_class : kAllOpClasses) {
    EXPECT_EQ(op_class_from(to_string(op_class)), op_class) << to_string(op_class);
  }
}

TEST(OpClass, NamesAreTheWordsOfTheConfig) {
  EXPECT_EQ(to_string(OpClass::kRaw), "raw");
  EXPECT_EQ(to_string(OpClass::kKernel), "kernel");
  EXPECT_EQ(to_string(OpClass::kGraph), "graph");
  EXPECT_EQ(to_string(OpClass::kExclusive), "exclusive");
}

TEST(OpClass, UnknownNameIsNoClass) {
  for (const char* name : {"", "Raw", "raw ", "graphs", "kernel+graph"}) {
    EXPECT_EQ(op_class_from(name), std::nullopt) << name;
  }
}

TEST(OpClass, IndicesFillAnArrayOfOneEntryForEach) {
  std::set<std::size_t> indices;
  for (const OpClass op_class : kAllOpClasses) indices.insert(index_of(op_class));
  EXPECT_EQ(indices.size(), kOpClasses);
  EXPECT_EQ(*indices.rbegin(), kOpClasses - 1);
}

/// Every union of op classes that can be written.
std::vector<OpClassSet> all_unions() {
  std::vector<OpClassSet> unions;
  for (const OpClass a : kAllOpClasses) {
    for (const OpClass b : kAllOpClasses) {
      for (const OpClass c : kAllOpClasses) unions.push_back(a | b | c);
    }
  }
  return unions;
}

TEST(OpClassSet, UnionsNormaliseToOneSetForEachLane) {
  std::set<std::size_t> lanes;
  for (const OpClassSet classes : all_unions()) {
    ASSERT_LT(classes.lane(), kLanes);
    lanes.insert(classes.lane());
    EXPECT_EQ(OpClassSet::from_lane(classes.lane()), classes) << to_string(classes);
  }
  EXPECT_EQ(lanes.size(), kLanes);
}

TEST(OpClassSet, LaneLeadsBackToTheLane) {
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    EXPECT_EQ(OpClassSet::from_lane(lane).lane(), lane);
  }
}

TEST(OpClassSet, EachLaneHasItsName) {
  EXPECT_EQ(to_string(OpClassSet(OpClass::kRaw)), "raw");
  EXPECT_EQ(to_string(OpClassSet(OpClass::kKernel)), "kernel");
  EXPECT_EQ(to_string(OpClassSet(OpClass::kGraph)), "graph");
  EXPECT_EQ(to_string(OpClass::kKernel | OpClass::kGraph), "kernel+graph");
  EXPECT_EQ(to_string(OpClassSet(OpClass::kExclusive)), "exclusive");
}

TEST(OpClassSet, RawAddsNothingToAMoreRestrictiveClass) {
  for (const OpClass op_class : kAllOpClasses) {
    EXPECT_EQ(OpClass::kRaw | op_class, OpClassSet(op_class)) << to_string(op_class);
  }
}

TEST(OpClassSet, ExclusiveSwallowsAllOthers) {
  for (const OpClassSet classes : all_unions()) {
    EXPECT_EQ(classes | OpClass::kExclusive, OpClassSet(OpClass::kExclusive)) << to_string(classes);
  }
}

TEST(OpClassSet, ContainsExactlyItsClassesAfterNormalising) {
  const OpClassSet both = OpClass::kKernel | OpClass::kGraph;
  EXPECT_TRUE(both.contains(OpClass::kKernel));
  EXPECT_TRUE(both.contains(OpClass::kGraph));
  EXPECT_FALSE(both.contains(OpClass::kRaw));
  EXPECT_FALSE(both.contains(OpClass::kExclusive));
  EXPECT_FALSE((OpClass::kRaw | OpClass::kGraph).contains(OpClass::kRaw));
}

TEST(OpClassSet, CoversWhatItsPermitsAllow) {
  const OpClassSet raw = OpClass::kRaw;
  const OpClassSet kernel = OpClass::kKernel;
  const OpClassSet graph = OpClass::kGraph;
  const OpClassSet both = kernel | graph;
  const OpClassSet exclusive = OpClass::kExclusive;
  // covered[outer][inner], by lane.
  const bool covered[kLanes][kLanes] = {{true, false, false, false, false},
                                        {true, true, false, false, false},
                                        {true, false, true, false, false},
                                        {true, true, true, true, false},
                                        {true, true, true, true, true}};
  for (const OpClassSet outer : {raw, kernel, graph, both, exclusive}) {
    for (const OpClassSet inner : {raw, kernel, graph, both, exclusive}) {
      EXPECT_EQ(outer.covers(inner), covered[outer.lane()][inner.lane()])
          << to_string(outer) << " over " << to_string(inner);
    }
  }
}

TEST(OpClassSet, MissingIsWhatMakesTheSetCoverTheInnerOneAndNoMore) {
  for (std::size_t i = 0; i < kLanes; ++i) {
    for (std::size_t j = 0; j < kLanes; ++j) {
      const OpClassSet outer = OpClassSet::from_lane(i);
      const OpClassSet inner = OpClassSet::from_lane(j);
      const auto missing = outer.missing_for(inner);
      EXPECT_EQ(missing.has_value(), !outer.covers(inner)) << i << " over " << j;
      if (!missing) continue;
      EXPECT_TRUE((outer | *missing).covers(inner)) << i << " over " << j;
      EXPECT_TRUE(inner.covers(*missing)) << i << " over " << j;
      EXPECT_FALSE(outer.shares_with(*missing)) << i << " over " << j;
    }
  }
}

TEST(OpClassSet, SharesExactlyWhereAClassIsInBoth) {
  const OpClassSet both = OpClass::kKernel | OpClass::kGraph;
  EXPECT_TRUE(both.shares_with(OpClass::kKernel));
  EXPECT_TRUE(both.shares_with(OpClass::kGraph));
  EXPECT_FALSE(OpClassSet(OpClass::kKernel).shares_with(OpClass::kGraph));
  EXPECT_FALSE(both.shares_with(OpClass::kExclusive));
  EXPECT_FALSE(both.shares_with(OpClass::kRaw));
  EXPECT_TRUE(OpClassSet(OpClass::kRaw).shares_with(OpClass::kRaw));
}

TEST(OpClassSet, UnknownOperationTakesAPermitOfKernelAndOfGraph) {
  EXPECT_EQ(kUnknownOpClass, OpClass::kKernel | OpClass::kGraph);
  static_assert(sizeof(OpClassSet) == 1, "an OpClassSet is a value of one byte");
}

}  // namespace
}  // namespace streamgate::policies
