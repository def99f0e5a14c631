// SPDX-License-Identifier: MIT
// AMX's instructions on tiles, executed by any processor, for those that bf16_products.cpp uses.
// They are described in Intel's Architecture Instruction Set Extensions Programming Reference,
// chapter 3.

#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace amx_stand_in {

struct Configuration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

inline thread_local Configuration configuration;
inline thread_local uint8_t tiles[8][16][64];
inline thread_local const char *error = nullptr;

// Whether registers are configured as whole ones; what is not is remembered, for the test.
inline bool are_whole(std::initializer_list<int> registers)
{
  for (const int tile : registers) {
    if (tile < 0 || tile > 7) {
      error = "there is no such register";
    } else if (configuration.palette != 1) {
      error = "registers are used before they are configured";
    } else if (configuration.rows[tile] != 16 || configuration.row_bytes[tile] != 64) {
      error = "a register is not a whole one";
    } else {
      continue;
    }
    return false;
  }
  return true;
}

inline float upper_half(uint16_t half)
{
  const uint32_t bits = uint32_t(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

}    // namespace amx_stand_in

inline void _tile_loadconfig(const void *from)
{
  using namespace amx_stand_in;
  std::memcpy(&configuration, from, sizeof(configuration));
  for (const uint8_t byte : configuration.reserved) {
    if (byte != 0 || configuration.start_row != 0) error = "bytes must be zero";
  }
  for (int tile = 8; tile < 16; tile++) {
    if (configuration.rows[tile] != 0 || configuration.row_bytes[tile] != 0)
      error = "there are eight registers";
  }
}

inline void _tile_release()
{
  amx_stand_in::configuration = {};
}

inline void _tile_zero(int tile)
{
  if (amx_stand_in::are_whole({tile})) std::memset(amx_stand_in::tiles[tile], 0, 1024);
}

namespace amx_stand_in {

inline void load(int tile, const void *from, long stride)
{
  if (!are_whole({tile})) return;
  for (int row = 0; row < 16; row++) {
    std::memcpy(tiles[tile][row], static_cast<const char *>(from) + row * stride, 64);
  }
}

inline void store(int tile, void *to, long stride)
{
  if (!are_whole({tile})) return;
  for (int row = 0; row < 16; row++) {
    std::memcpy(static_cast<char *>(to) + row * stride, tiles[tile][row], 64);
  }
}

}    // namespace amx_stand_in

// As some compilers have them: an expression in place of a pointer is taken apart.
#define _tile_loadd(tile, from, stride)                                                            \
  amx_stand_in::load(tile, (const void *) from, (long) (stride))
#define _tile_stored(tile, to, stride) amx_stand_in::store(tile, (void *) to, (long) (stride))

// sums += first second, of pairs of bfloat16.
inline void _tile_dpbf16ps(int sums, int first, int second)
{
  using namespace amx_stand_in;
  if (!are_whole({sums, first, second})) return;
  for (int row = 0; row < 16; row++) {
    uint16_t a[32];
    float sum[16];
    std::memcpy(a, tiles[first][row], sizeof(a));
    std::memcpy(sum, tiles[sums][row], sizeof(sum));
    for (int k = 0; k < 16; k++) {
      uint16_t b[32];
      std::memcpy(b, tiles[second][k], sizeof(b));
      for (int i = 0; i < 32; i++) sum[i / 2] += upper_half(a[2 * k + i % 2]) * upper_half(b[i]);
    }
    std::memcpy(tiles[sums][row], sum, sizeof(sum));
  }
}
