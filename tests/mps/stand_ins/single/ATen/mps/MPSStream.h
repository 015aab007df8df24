// SPDX-License-Identifier: Apache-2.0
//
// Stands in for libtorch's header up to 2.13: one stream, which every thread shares.
#pragma once

#include <stand_in_stream.h>
