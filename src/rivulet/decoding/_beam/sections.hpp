// A packed file: a header, a table of named sections, and the sections, each at a multiple of 64 bytes.
//
//   0   "RIVULET\0"
//   8   u32 version, u32 number of sections, u64 bytes of the whole file
//   24  for each section: char name[8] padded with zeros, u64 offset, u64 bytes
//
// Little-endian. The writer is rivulet.language.packed.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace rivulet {

// What is wrong with a file, in one sentence; becomes a LanguageModelError in Python.
struct FileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr uint32_t kVersion = 1;
constexpr size_t kAlignment = 64;
constexpr size_t kHeader = 24;
constexpr size_t kEntry = 24;

// An array inside the file.
template <class T>
struct View {
  const T* data = nullptr;
  size_t size = 0;
  const T& operator[](size_t i) const { return data[i]; }
};

template <class T>
inline T load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

class Sections {
 public:
  Sections(const uint8_t* data, size_t size) : data_(data), size_(size) {
    if (size < kHeader || std::memcmp(data, "RIVULET", 8) != 0)
      throw FileError("it does not begin as a packed language model does");
    if (reinterpret_cast<uintptr_t>(data) % alignof(uint64_t) != 0)
      throw FileError("it does not lie at a multiple of 8 bytes in memory");
    uint32_t version = load<uint32_t>(data + 8);
    if (version != kVersion)
      throw FileError("its version is " + std::to_string(version) + " and this program reads " +
                      std::to_string(kVersion));
    uint64_t stated = load<uint64_t>(data + 16);
    if (stated != size)
      throw FileError("it holds " + std::to_string(size) + " bytes and should hold " +
                      std::to_string(stated));
    count_ = load<uint32_t>(data + 12);
    if (count_ > (size - kHeader) / kEntry) throw FileError("its table of sections is cut short");
    for (size_t i = 0; i < count_; ++i) {
      const uint8_t* entry = data + kHeader + i * kEntry;
      uint64_t offset = load<uint64_t>(entry + 8), bytes = load<uint64_t>(entry + 16);
      if (offset % kAlignment || offset > size || bytes > size - offset)
        throw FileError("its section " + std::to_string(i) + " reaches beyond its end");
    }
  }

  bool has(const char* name) const { return find(name) != nullptr; }

  // The section `name`; `least` elements must be there.
  template <class T>
  View<T> get(const std::string& name, size_t least) const {
    const uint8_t* entry = find(name.c_str());
    if (!entry) throw FileError("it lacks the section " + name);
    uint64_t offset = load<uint64_t>(entry + 8), bytes = load<uint64_t>(entry + 16);
    if (bytes / sizeof(T) < least)
      throw FileError("its section " + name + " holds " + std::to_string(bytes / sizeof(T)) +
                      " of " + std::to_string(least) + " entries");
    return View<T>{reinterpret_cast<const T*>(data_ + offset), size_t(bytes / sizeof(T))};
  }

 private:
  const uint8_t* find(const char* name) const {
    char padded[8] = {0};
    size_t length = std::strlen(name);
    std::memcpy(padded, name, length < 8 ? length : 8);
    for (size_t i = 0; i < count_; ++i) {
      const uint8_t* entry = data_ + kHeader + i * kEntry;
      if (std::memcmp(entry, padded, 8) == 0) return entry;
    }
    return nullptr;
  }

  const uint8_t* data_;
  size_t size_;
  size_t count_ = 0;
};

// Throws unless `offsets` never fall and end at most at `limit`.
inline void check_offsets(const uint32_t* offsets, size_t count, size_t stride, size_t limit,
                          const char* what) {
  uint32_t before = 0;
  bool wrong = false;
  for (size_t i = 0; i < count; ++i) {
    uint32_t now = offsets[i * stride];
    wrong |= now < before;
    before = now;
  }
  if (wrong || before > limit)
    throw FileError(std::string("its ") + what + " are out of order or reach too far");
}

}  // namespace rivulet
