// The n-gram: a trie from the first word of a context to its last, bit-packed, read where it lies.
//
// Level n holds the n-grams sorted by context, then by word; an entry is
//   word | probability's bin | back-off's bin | where its continuations begin in level n + 1
// and on the last level only the first two. "Where" counts from a base that a group of entries shares.
// Words on level 1 are stored in full. Scores are log10, added up in float32 in KenLM's order.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>

#include "sections.hpp"

namespace rivulet {

constexpr int kMostOrder = 6;
constexpr int kContext = kMostOrder - 1;  // words of history that count at most

struct Unigram {
  float prob, backoff;
  uint32_t first;  // of its continuations in level 2
};
static_assert(sizeof(Unigram) == 12, "as in the file");

struct Level {
  uint32_t count = 0;
  int bits = 0, offset_bits = 0, group_shift = 0;
  const uint8_t* records = nullptr;
  View<uint32_t> bases;
  View<float> probs, backoffs;
};

struct Range {
  uint32_t begin = 0, end = 0;
};

// What the n-gram knows of a history: for each number n of last words from 1, where their
// continuations stand in level n + 1, and their back-off.
struct Contexts {
  int count = 0;
  std::array<Range, kContext> range;
  std::array<float, kContext> backoff;
};

class NGram {
 public:
  // Fields of the section "meta", all u32.
  struct Meta {
    uint32_t words, order, word_bits, prob_bits, backoff_bits, reserved;
    struct {
      uint32_t count, offset_bits, group_shift;
    } level[kMostOrder - 1];  // levels 2 to 6
  };

  NGram() = default;
  explicit NGram(const Sections& file) {
    const Meta& meta = file.get<Meta>("meta", 1)[0];
    words_ = meta.words;
    order_ = int(meta.order);
    if (meta.words == 0 || meta.words > (1u << 24))
      throw FileError("it states " + std::to_string(meta.words) + " words");
    if (meta.order < 2 || meta.order > kMostOrder)
      throw FileError("it states an order of " + std::to_string(meta.order));
    if (meta.word_bits < 1 || meta.word_bits > 25 || meta.prob_bits < 1 || meta.prob_bits > 12 ||
        meta.backoff_bits < 1 || meta.backoff_bits > 12)
      throw FileError("the widths of its n-grams' fields cannot be");
    word_bits_ = int(meta.word_bits);
    prob_bits_ = int(meta.prob_bits);
    backoff_bits_ = int(meta.backoff_bits);
    unigrams_ = file.get<Unigram>("unigram", size_t(words_) + 4);
    for (int n = 2; n <= order_; ++n) read_level(file, meta, n);
    check_offsets(&unigrams_[0].first, size_t(words_) + 4, 3, levels_[0].count,
                  "places of pairs");
  }

  // Throws unless every score is a number: the search sorts by their sums.
  void check_values() const {
    bool wrong = false;
    for (size_t i = 0; i < size_t(words_) + 3; ++i)
      wrong |= !std::isfinite(unigrams_[i].prob) || !std::isfinite(unigrams_[i].backoff);
    for (int n = 2; n <= order_; ++n) {
      const Level& level = levels_[n - 2];
      for (size_t i = 0; i < size_t(1) << prob_bits_; ++i) wrong |= !std::isfinite(level.probs[i]);
      for (size_t i = 0; n < order_ && i < size_t(1) << backoff_bits_; ++i)
        wrong |= !std::isfinite(level.backoffs[i]);
    }
    if (wrong) throw FileError("its n-grams hold scores that are no numbers");
  }

  uint32_t words() const { return words_; }
  int order() const { return order_; }
  uint32_t unknown() const { return words_; }
  uint32_t begin_mark() const { return words_ + 1; }
  uint32_t end_mark() const { return words_ + 2; }

  // Contexts after `count` words, the latest first; a history shorter than the model's context
  // began with the sentence.
  Contexts contexts(const uint32_t* latest, int count) const {
    uint32_t history[kContext];
    int length = std::min(count, order_ - 1);
    for (int i = 0; i < length; ++i) history[i] = std::min(latest[i], unknown());
    if (length < order_ - 1) history[length++] = begin_mark();
    Contexts found;
    for (int n = 1; n <= length; ++n) {
      uint32_t first = history[n - 1];
      Range range{unigrams_[first].first, unigrams_[first + 1].first};
      float backoff = unigrams_[first].backoff;
      bool there = true;
      for (int i = n - 2; i >= 0 && there; --i) {
        const Level& level = levels_[n - 2 - i];
        uint32_t at = search(level, range, history[i]);
        there = at != kNone;
        if (there) {
          backoff = level.backoffs[(record(level, at) >> (word_bits_ + prob_bits_)) &
                                   mask(backoff_bits_)];
          range = next(n - 2 - i, at);
        }
      }
      // a context that is not listed has no continuations and backs off for nothing
      found.range[n - 1] = there ? range : Range{};
      found.backoff[n - 1] = there ? backoff : 0.0f;
      found.count = n;
    }
    return found;
  }

  // log10 P(word | contexts); ids from `unknown()` on, but for the marks, are unknown words.
  float log10_prob(const Contexts& in, uint32_t word) const {
    for (int n = in.count; n >= 1; --n) {
      const Range& range = in.range[n - 1];
      if (range.begin == range.end) continue;
      const Level& level = levels_[n - 1];
      uint32_t at = search(level, range, word);
      if (at == kNone) continue;
      float prob = level.probs[(record(level, at) >> word_bits_) & mask(prob_bits_)];
      for (int k = n; k < in.count; ++k) prob += in.backoff[k];
      return prob;
    }
    float prob = unigrams_[word].prob;
    for (int k = 0; k < in.count; ++k) prob += in.backoff[k];
    return prob;
  }

  uint32_t target(uint32_t word) const { return std::min(word, unknown()); }

 private:
  static constexpr uint32_t kNone = 0xffffffffu;
  static uint64_t mask(int bits) { return (uint64_t(1) << bits) - 1; }

  void read_level(const Sections& file, const Meta& meta, int n) {
    Level& level = levels_[n - 2];
    bool last = n == order_;
    level.count = meta.level[n - 2].count;
    level.offset_bits = last ? 0 : int(meta.level[n - 2].offset_bits);
    level.group_shift = int(meta.level[n - 2].group_shift);
    if (level.offset_bits > 20 || level.group_shift > 16 || level.count > (1u << 31))
      throw FileError("the widths of its " + std::to_string(n) + "-grams cannot be");
    level.bits = word_bits_ + prob_bits_ + (last ? 0 : backoff_bits_ + level.offset_bits);
    if (level.bits > 57) throw FileError("its n-grams' fields are too wide");
    std::string name = std::to_string(n);
    size_t records = size_t(level.count) + 1;  // one more says where the last one's range ends
    level.records =
        file.get<uint8_t>("gram" + name, (records * size_t(level.bits) + 7) / 8 + 8).data;
    level.probs = file.get<float>("prob" + name, size_t(1) << prob_bits_);
    if (last) return;
    level.backoffs = file.get<float>("back" + name, size_t(1) << backoff_bits_);
    level.bases = file.get<uint32_t>("base" + name, ((records - 1) >> level.group_shift) + 1);
  }

  uint64_t record(const Level& level, size_t i) const {
    size_t bit = i * size_t(level.bits);
    return load<uint64_t>(level.records + (bit >> 3)) >> (bit & 7);
  }

  uint32_t word_at(const Level& level, size_t i) const {
    return uint32_t(record(level, i) & mask(word_bits_));
  }

  // Where the continuations of entry i of levels_[index] begin; clamped, so that no file leads astray.
  uint32_t first(int index, uint32_t i) const {
    const Level& level = levels_[index];
    uint64_t offset = (record(level, i) >> (word_bits_ + prob_bits_ + backoff_bits_)) &
                      mask(level.offset_bits);
    uint64_t at = level.bases[i >> level.group_shift] + offset;
    return uint32_t(std::min<uint64_t>(at, levels_[index + 1].count));
  }

  Range next(int index, uint32_t i) const {
    Range range{first(index, i), first(index, i + 1)};
    range.end = std::max(range.begin, range.end);
    return range;
  }

  // Place of `word` among the entries in `range`, which are sorted; kNone if it is not there.
  uint32_t search(const Level& level, Range range, uint32_t word) const {
    uint32_t begin = range.begin, size = range.end - range.begin;
    if (size == 0) return kNone;
    while (size > 1) {
      uint32_t half = size / 2;
      begin = word_at(level, begin + half) <= word ? begin + half : begin;
      size -= half;
    }
    return word_at(level, begin) == word ? begin : kNone;
  }

  uint32_t words_ = 0;
  int order_ = 0, word_bits_ = 0, prob_bits_ = 0, backoff_bits_ = 0;
  View<Unigram> unigrams_;
  std::array<Level, kMostOrder - 1> levels_;
};

}  // namespace rivulet
