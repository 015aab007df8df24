// SPDX-License-Identifier: Apache-2.0
//
// <streamgate/metrics.h>: what a service needs to serve its executors' metrics, under short names.
// A service with a Prometheus registry and server of its own includes
// <streamgate/metrics/collector.h>.
#pragma once

#include <streamgate/metrics/endpoint.h>

namespace streamgate {

using MetricsEndpoint = metrics::Endpoint;

}  // namespace streamgate
