// SPDX-License-Identifier: Apache-2.0
//
// A library that does nothing: only its file's name is of interest.
extern "C" int streamgate_test_nothing() { return 0; }
