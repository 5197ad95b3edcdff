// Operations under a directed rounding mode. Compiled with -frounding-math; volatile keeps each operation between the
// two changes of the mode.
#include <cfenv>

#include "exec/numbers.h"

namespace fovea::simulator {
namespace {

class Mode {
 public:
  explicit Mode(Rounding rounding) : saved_(std::fegetround()) {
    std::fesetround(rounding == Rounding::kZero   ? FE_TOWARDZERO
                    : rounding == Rounding::kDown ? FE_DOWNWARD
                    : rounding == Rounding::kUp   ? FE_UPWARD
                                                  : FE_TONEAREST);
  }
  ~Mode() { std::fesetround(saved_); }

 private:
  int saved_;
};

// Calls the operation on copies that the compiler must load after the mode changed.
template <class T, class F, class... Values>
T rounded(Rounding rounding, F operation, Values... values) {
  const Mode mode(rounding);
  const auto load = [](auto value) {
    volatile auto copy = value;
    return copy;
  };
  volatile T result = operation(load(values)...);
  return result;
}

template <class T>
T add(T a, T b, Rounding rounding) {
  return rounded<T>(
      rounding, [](T x, T y) { return x + y; }, a, b);
}
template <class T>
T multiply(T a, T b, Rounding rounding) {
  return rounded<T>(
      rounding, [](T x, T y) { return x * y; }, a, b);
}
template <class T>
T fused(T a, T b, T c, Rounding rounding) {
  return rounded<T>(
      rounding, [](T x, T y, T z) { return std::fma(x, y, z); }, a, b, c);
}
template <class T>
T divide(T a, T b, Rounding rounding) {
  return rounded<T>(
      rounding, [](T x, T y) { return x / y; }, a, b);
}
template <class T>
T root(T a, Rounding rounding) {
  return rounded<T>(
      rounding, [](T x) { return std::sqrt(x); }, a);
}
template <class T>
T fromInteger(int64_t value, bool isSigned, Rounding rounding) {
  return rounded<T>(
      rounding,
      [isSigned](int64_t x) { return isSigned ? static_cast<T>(x) : static_cast<T>(static_cast<uint64_t>(x)); }, value);
}

}  // namespace

float addRounded(float a, float b, Rounding rounding) { return add(a, b, rounding); }
float multiplyRounded(float a, float b, Rounding rounding) { return multiply(a, b, rounding); }
float fusedRounded(float a, float b, float c, Rounding rounding) { return fused(a, b, c, rounding); }
float divideRounded(float a, float b, Rounding rounding) { return divide(a, b, rounding); }
float squareRootRounded(float a, Rounding rounding) { return root(a, rounding); }
double addRounded(double a, double b, Rounding rounding) { return add(a, b, rounding); }
double multiplyRounded(double a, double b, Rounding rounding) { return multiply(a, b, rounding); }
double fusedRounded(double a, double b, double c, Rounding rounding) { return fused(a, b, c, rounding); }
double divideRounded(double a, double b, Rounding rounding) { return divide(a, b, rounding); }
double squareRootRounded(double a, Rounding rounding) { return root(a, rounding); }
float narrowRounded(double a, Rounding rounding) {
  return rounded<float>(
      rounding, [](double x) { return static_cast<float>(x); }, a);
}
float integerToFloat(int64_t value, bool isSigned, Rounding rounding) {
  return fromInteger<float>(value, isSigned, rounding);
}
double integerToDouble(int64_t value, bool isSigned, Rounding rounding) {
  return fromInteger<double>(value, isSigned, rounding);
}

}  // namespace fovea::simulator
