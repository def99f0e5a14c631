// SPDX-License-Identifier: GPL-2.0-only

#include "archive_checksums.h"

#include <algorithm>
#include <array>
#include <caffe2/serialize/inline_container.h>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

namespace uma {
namespace {

using Bytes = std::vector<unsigned char>;

// CRC-32 of zip files (ISO 3309), eight bytes at a time.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

Tables make_tables()
{
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0u);
    tables[0][byte] = value;
  }
  for (size_t k = 1; k < 8; k++) {
    for (size_t byte = 0; byte < 256; byte++) {
      const uint32_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

uint32_t checksum(const unsigned char *data, size_t size)
{
  static const Tables tables = make_tables();
  uint32_t value = 0xFFFFFFFFu;
  for (; size >= 8; size -= 8, data += 8) {
    uint32_t next = 0;
    for (size_t k = 0; k < 4; k++) next ^= tables[7 - k][data[k] ^ ((value >> (8 * k)) & 0xFF)];
    for (size_t k = 4; k < 8; k++) next ^= tables[7 - k][data[k]];
    value = next;
  }
  for (; size > 0; size--, data++) value = (value >> 8) ^ tables[0][(value ^ *data) & 0xFF];
  return value ^ 0xFFFFFFFFu;
}

uint64_t number(const Bytes &bytes, size_t first, size_t width)
{
  if (first + width > bytes.size()) throw std::runtime_error("the directory ends early");
  uint64_t value = 0;
  for (size_t k = width; k > 0; k--) value = (value << 8) | bytes[first + k - 1];
  return value;
}

Bytes read(std::FILE *file, uint64_t first, uint64_t size)
{
  Bytes bytes(size);
  if (std::fseek(file, long(first), SEEK_SET) != 0 ||
      std::fread(bytes.data(), 1, size, file) != size) {
    throw std::runtime_error("the file ends early");
  }
  return bytes;
}

// The central directory of a zip file. Its end record is last, with the 64-bit one before it.
Bytes read_directory(std::FILE *file)
{
  constexpr uint64_t END = 22, LOCATOR = 20, MOST = uint64_t(1) << 28;
  std::fseek(file, 0, SEEK_END);
  const auto length = uint64_t(std::ftell(file));
  if (length < END) throw std::runtime_error("the file is too short");
  Bytes end = read(file, length - END, END);
  if (number(end, 0, 4) != 0x06054B50) throw std::runtime_error("there is no directory");
  uint64_t size = number(end, 12, 4), first = number(end, 16, 4);
  if (length >= END + LOCATOR) {
    const Bytes locator = read(file, length - END - LOCATOR, LOCATOR);
    if (number(locator, 0, 4) == 0x07064B50) {
      end = read(file, number(locator, 8, 8), 56);
      size = number(end, 40, 8);
      first = number(end, 48, 8);
    }
  }
  if (size > MOST || first > length) throw std::runtime_error("the directory is invalid");
  return read(file, first, size);
}

// Checksums by name, names without the archive's own in front.
std::map<std::string, uint32_t> read_checksums(const Bytes &directory)
{
  std::map<std::string, uint32_t> checksums;
  for (size_t at = 0; at < directory.size();) {
    if (number(directory, at, 4) != 0x02014B50) throw std::runtime_error("an entry is invalid");
    const auto checksum = uint32_t(number(directory, at + 16, 4));
    const size_t length = number(directory, at + 28, 2);
    const size_t more = number(directory, at + 30, 2) + number(directory, at + 32, 2);
    number(directory, at + 46, length);    // the name lies within
    const auto start = directory.begin() + long(at) + 46;
    const std::string name(start, start + long(length));
    checksums[name.substr(name.find('/') + 1)] = checksum;
    at += 46 + length + more;
  }
  return checksums;
}

}    // namespace

std::string member_with_wrong_checksum(const std::string &file)
{
  const std::unique_ptr<std::FILE, int (*)(std::FILE *)> opened(std::fopen(file.c_str(), "rb"),
                                                                std::fclose);
  if (!opened) throw std::runtime_error("the file cannot be opened");
  const auto checksums = read_checksums(read_directory(opened.get()));
  caffe2::serialize::PyTorchStreamReader reader(file);
  for (const std::string &name : reader.getAllRecords()) {
    const auto [data, size] = reader.getRecord(name);
    const auto known = checksums.find(name);
    if (known == checksums.end()) return name;
    if (checksum(static_cast<const unsigned char *>(data.get()), size) != known->second)
      return name;
  }
  return {};
}

}    // namespace uma
