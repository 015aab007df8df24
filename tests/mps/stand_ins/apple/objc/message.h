// SPDX-License-Identifier: Apache-2.0
//
// Stands in for Apple's header of the same name, with no more of it than the MPS backend uses. As
// there, the function must be cast to the type of its message before it is called.
#pragma once

#include <objc/runtime.h>

extern "C" {
void objc_msgSend(void);
}
