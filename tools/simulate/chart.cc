// SPDX-License-Identifier: Apache-2.0
#include "simulate/chart.h"

#include <algorithm>
#include <cmath>

#include "format.h"

namespace streamgate::tools {
namespace {

using executor::simulation::Sample;

constexpr double kWidth = 860;
constexpr double kPanel = 260;  ///< Height of a panel with its title and its axis.
constexpr double kLeft = 60;
constexpr double kRight = 790;
constexpr double kTop = 40;      ///< Of the plot, within its panel.
constexpr double kBottom = 220;

/// The smallest of 1, 2 or 5 times a power of ten that is not below the value.
double round_up(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * power) return step * power;
  }
  return 10 * power;
}

struct Scales {
  double seconds = 1;
  double permits = 1;
  double throughput = 1;
};

Scales scales_of(const std::vector<Played>& played) {
  Scales most{.seconds = 0, .permits = 0, .throughput = 0};
  for (const Played& each : played) {
    for (const Sample& sample : each.result.series) {
      most.seconds = std::max(most.seconds, sample.time_s);
      most.permits = std::max(most.permits, static_cast<double>(
                                                std::max(sample.limit, sample.in_flight)));
      most.throughput = std::max(most.throughput, sample.throughput_per_s);
    }
  }
  return {most.seconds > 0 ? most.seconds : 1, round_up(most.permits), round_up(most.throughput)};
}

template <typename Value>
std::string line(const std::vector<Sample>& series, const Scales& scales, double top, double most,
                 const char* color, Value value) {
  std::string points;
  for (const Sample& sample : series) {
    const double x = kLeft + (kRight - kLeft) * sample.time_s / scales.seconds;
    const double y = top + kBottom - (kBottom - kTop) * value(sample) / most;
    points += format("%.1f,%.1f ", x, y);
  }
  return format("<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"%s\" points=\"", color) +
         points + "\"/>\n";
}

std::string text(double x, double y, const char* anchor, const char* color,
                 const std::string& words) {
  return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">", x, y, anchor,
                color) +
         words + "</text>\n";
}

constexpr const char* kLimitColor = "#1f5fa8";
constexpr const char* kInFlightColor = "#d07a1f";
constexpr const char* kThroughputColor = "#3a8a3a";
constexpr const char* kTextColor = "#333333";

std::string panel(const Played& played, const Scales& scales, double top) {
  std::string svg = text(kLeft, top + 18, "start", kTextColor, played.policy) +
                    text(kLeft + 130, top + 18, "start", kLimitColor, "limit") +
                    text(kLeft + 180, top + 18, "start", kInFlightColor, "in flight") +
                    text(kRight, top + 18, "end", kThroughputColor, "throughput per s");
  for (int i = 0; i <= 4; ++i) {
    const double share = i / 4.0;
    const double y = top + kBottom - (kBottom - kTop) * share;
    const double x = kLeft + (kRight - kLeft) * share;
    svg += format("<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#dddddd\"/>\n",
                  kLeft, kRight, y, y);
    svg += text(kLeft - 6, y + 4, "end", kTextColor, format("%.4g", scales.permits * share));
    svg += text(kRight + 6, y + 4, "start", kThroughputColor,
                format("%.4g", scales.throughput * share));
    svg += text(x, top + kBottom + 18, "middle", kTextColor,
                format("%.4g s", scales.seconds * share));
  }
  const std::vector<Sample>& series = played.result.series;
  svg += line(series, scales, top, scales.throughput, kThroughputColor,
              [](const Sample& sample) { return sample.throughput_per_s; });
  svg += line(series, scales, top, scales.permits, kInFlightColor,
              [](const Sample& sample) { return static_cast<double>(sample.in_flight); });
  svg += line(series, scales, top, scales.permits, kLimitColor,
              [](const Sample& sample) { return static_cast<double>(sample.limit); });
  return svg;
}

}  // namespace

std::string render_simulation_svg(const std::vector<Played>& played) {
  const Scales scales = scales_of(played);
  const double height = kPanel * static_cast<double>(played.size());
  std::string svg = format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
      kWidth, height);
  for (std::size_t i = 0; i < played.size(); ++i) {
    svg += panel(played[i], scales, kPanel * static_cast<double>(i));
  }
  return svg + "</svg>\n";
}

}  // namespace streamgate::tools
