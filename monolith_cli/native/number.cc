#include "number.h"

#include <cstring>

namespace monolith {
namespace {

// The search for the digits follows Raffaello Giulietti, "The Schubfach way to render doubles"
// (2021), with the constants for 32 bits.

constexpr int kMinPower = -31, kMaxPower = 45;

// floor(10^k * 2^(63 - floor(log2(10^k)))) + 1 for k from kMinPower on.
constexpr uint64_t kPowersOfTen[kMaxPower - kMinPower + 1] = {
    0x81ceb32c4b43fcf5, 0xa2425ff75e14fc32, 0xcad2f7f5359a3b3f, 0xfd87b5f28300ca0e,
    0x9e74d1b791e07e49, 0xc612062576589ddb, 0xf79687aed3eec552, 0x9abe14cd44753b53,
    0xc16d9a0095928a28, 0xf1c90080baf72cb2, 0x971da05074da7bef, 0xbce5086492111aeb,
    0xec1e4a7db69561a6, 0x9392ee8e921d5d08, 0xb877aa3236a4b44a, 0xe69594bec44de15c,
    0x901d7cf73ab0acda, 0xb424dc35095cd810, 0xe12e13424bb40e14, 0x8cbccc096f5088cc,
    0xafebff0bcb24aaff, 0xdbe6fecebdedd5bf, 0x89705f4136b4a598, 0xabcc77118461cefd,
    0xd6bf94d5e57a42bd, 0x8637bd05af6c69b6, 0xa7c5ac471b478424, 0xd1b71758e219652c,
    0x83126e978d4fdf3c, 0xa3d70a3d70a3d70b, 0xcccccccccccccccd, 0x8000000000000001,
    0xa000000000000001, 0xc800000000000001, 0xfa00000000000001, 0x9c40000000000001,
    0xc350000000000001, 0xf424000000000001, 0x9896800000000001, 0xbebc200000000001,
    0xee6b280000000001, 0x9502f90000000001, 0xba43b74000000001, 0xe8d4a51000000001,
    0x9184e72a00000001, 0xb5e620f480000001, 0xe35fa931a0000001, 0x8e1bc9bf04000001,
    0xb1a2bc2ec5000001, 0xde0b6b3a76400001, 0x8ac7230489e80001, 0xad78ebc5ac620001,
    0xd8d726b7177a8001, 0x878678326eac9001, 0xa968163f0a57b401, 0xd3c21bcecceda101,
    0x84595161401484a1, 0xa56fa5b99019a5c9, 0xcecb8f27f4200f3b, 0x813f3978f8940985,
    0xa18f07d736b90be6, 0xc9f2c9cd04674edf, 0xfc6f7c4045812297, 0x9dc5ada82b70b59e,
    0xc5371912364ce306, 0xf684df56c3e01bc7, 0x9a130b963a6c115d, 0xc097ce7bc90715b4,
    0xf0bdc21abb48db21, 0x96769950b50d88f5, 0xbc143fa4e250eb32, 0xeb194f8e1ae525fe,
    0x92efd1b8d0cf37bf, 0xb7abc627050305ae, 0xe596b7b0c643c71a, 0x8f7e32ce7bea5c70,
    0xb35dbf821ae4f38c,
};

constexpr int floor_log2_of_power_of_10(int k) { return (k * 1741647) >> 19; }
constexpr int floor_log10_of_power_of_2(int q) { return (q * 1262611) >> 22; }
constexpr int floor_log10_of_three_quarters_of_power_of_2(int q) {
  return (q * 1262611 - 524031) >> 22;
}

// The upper bits of g * x, with the lowest bit set if anything below them is: enough to compare.
inline uint32_t round_to_odd(uint64_t g, uint32_t x) {
  unsigned __int128 product = static_cast<unsigned __int128>(g) * x;
  uint32_t high = static_cast<uint32_t>(product >> 64);
  uint32_t middle = static_cast<uint32_t>(product >> 32);
  return high | (middle > 1);
}

struct Decimal {
  uint32_t digits;
  int exponent;  // the value is digits * 10^exponent
};

// The shortest decimal in the interval of numbers that round to this float; of several the closest.
Decimal shortest(uint32_t fraction, uint32_t biased) {
  const uint32_t c = biased != 0 ? fraction | 0x800000u : fraction;
  const int q = (biased != 0 ? static_cast<int>(biased) : 1) - 150;
  // Whole numbers need no search.
  if (q <= 0 && q > -24 && (c & ((1u << -q) - 1)) == 0) return {c >> -q, 0};

  const bool even = (c & 1) == 0;
  const bool closer = fraction == 0 && biased > 1;  // the neighbour below is at half the distance
  const int k = closer ? floor_log10_of_three_quarters_of_power_of_2(q)
                       : floor_log10_of_power_of_2(q);
  const int shift = q + floor_log2_of_power_of_10(-k) + 1;
  const uint64_t g = kPowersOfTen[-k - kMinPower];
  // Four times the value and the ends of its interval, in units of 10^k.
  const uint32_t value = round_to_odd(g, (4 * c) << shift);
  const uint32_t low = round_to_odd(g, (4 * c - 2 + closer) << shift) + !even;
  const uint32_t high = round_to_odd(g, (4 * c + 2) << shift) - !even;

  // One digit less, if just one such number lies in the interval; else all digits, rounded to the
  // nearest or to the one of two that lies in it. Which it is nobody can predict: no branches.
  const uint32_t s = value / 4;
  const uint32_t tens = s / 10;
  const bool tens_down = low <= 40 * tens, tens_up = 40 * tens + 40 <= high;
  const bool fewer = (s >= 10) & (tens_down != tens_up);
  const bool down = low <= 4 * s, up = 4 * s + 4 <= high;
  const uint32_t middle = 4 * s + 2;
  const bool nearer_up = (value > middle) | ((value == middle) & ((s & 1) != 0));
  const uint32_t all = s + ((down != up) ? up : nearer_up);
  const uint32_t short_by_one = tens + tens_up;
  const uint32_t mask = 0u - static_cast<uint32_t>(fewer);
  return {(short_by_one & mask) | (all & ~mask), k + fewer};
}

// Eight digits of a number below 10^8 as text, the first in the lowest byte: four, two and then one
// digit at a time, in the lanes of one register.
inline uint64_t eight_digits(uint32_t n) {
  uint64_t v = n / 10000 | static_cast<uint64_t>(n % 10000) << 32;
  uint64_t hundreds = (v * 10486 >> 20) & 0x0000007f0000007fu;
  v = hundreds | (v - 100 * hundreds) << 16;
  uint64_t tens = (v * 103 >> 10) & 0x000f000f000f000fu;
  v = tens | (v - 10 * tens) << 8;
  return v | 0x3030303030303030u;
}

constexpr uint32_t kPowers[10] = {1,      10,      100,      1000,      10000,
                                  100000, 1000000, 10000000, 100000000, 1000000000};

inline int count_digits(uint32_t n) {
  int about = (32 - __builtin_clz(n | 1)) * 1233 >> 12;  // times log10(2)
  return about + (n >= kPowers[about]);
}

char* write_exponent(char* to, int exponent) {
  *to++ = 'e';
  if (exponent < 0) {
    *to++ = '-';
    exponent = -exponent;
  }
  if (exponent >= 10) *to++ = static_cast<char>('0' + exponent / 10);
  *to++ = static_cast<char>('0' + exponent % 10);
  return to;
}

}  // namespace

char* write_float(char* to, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  *to = '-';
  to += bits >> 31;
  bits &= 0x7fffffffu;
  if (bits == 0) {
    *to++ = '0';
    return to;
  }
  Decimal decimal = shortest(bits & 0x7fffffu, bits >> 23);
  while (decimal.digits % 10 == 0) {
    decimal.digits /= 10;
    ++decimal.exponent;
  }
  const int n = count_digits(decimal.digits);
  // All digits from the first on, filled up with zeros to nine. They stay in registers: a load from
  // bytes that were just stored in two parts would wait for both.
  const uint32_t filled = decimal.digits * kPowers[9 - n];
  const char first = static_cast<char>('0' + filled / kPowers[8]);
  const uint64_t rest = eight_digits(filled % kPowers[8]);
  const int point = n + decimal.exponent;  // digits before the decimal point

  if (point <= 0 && point > -5) {
    std::memcpy(to, "0.000000", 8);
    to += 2 - point;
    *to = first;
    std::memcpy(to + 1, &rest, 8);
    return to + n;
  }
  char digits[9];
  digits[0] = first;
  std::memcpy(digits + 1, &rest, 8);
  if (point > 0 && point <= 16) {
    if (point >= n) {
      std::memset(to, '0', 16);
      std::memcpy(to, digits, static_cast<size_t>(n));
      return to + point;
    }
    std::memcpy(to + 1, digits, 9);
    for (int i = 0; i < point; ++i) to[i] = digits[i];
    to[point] = '.';
    return to + n + 1;
  }
  *to++ = digits[0];
  if (n > 1) {
    *to++ = '.';
    std::memcpy(to, digits + 1, 8);
    to += n - 1;
  }
  return write_exponent(to, point - 1);
}

}  // namespace monolith
