// SPDX-License-Identifier: Apache-2.0
//
// Stands in for Apple's header of the same name, with no more of it than the MPS backend uses.
#pragma once

extern "C" {
struct objc_selector;
typedef objc_selector* SEL;
SEL sel_registerName(const char* name);
}
