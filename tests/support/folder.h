// SPDX-License-Identifier: Apache-2.0
//
// A shorter name.
#pragma once

#include "temporary_folder.h"

namespace streamgate::testing {

using Folder = TemporaryFolder;

}  // namespace streamgate::testing
