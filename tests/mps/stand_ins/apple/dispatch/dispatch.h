// SPDX-License-Identifier: Apache-2.0
//
// Stands in for Apple's header of the same name, with no more of it than the MPS backend uses.
#pragma once

extern "C" {
struct dispatch_queue_s;
typedef dispatch_queue_s* dispatch_queue_t;
typedef void (*dispatch_function_t)(void*);
void dispatch_sync_f(dispatch_queue_t queue, void* context, dispatch_function_t work);
}
