// Histories of words, numbered: hypotheses with equal ones can't be told apart by the n-gram.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "ngram.hpp"

namespace rivulet {

constexpr uint32_t kNoState = 0xffffffffu;

// A history: last words, the latest first, and the node of the context graph.
struct State {
  std::array<uint32_t, kContext> words{};
  uint32_t context_node = 0;
  int length = 0;
  bool known = false;  // whether `contexts` is filled in
  Contexts contexts;
};

// Histories of one stream by number; equal ones have one number.
class States {
 public:
  explicit States(int context) : context_(context) { clear(); }

  void clear() {
    states_.clear();
    slots_.assign(256, kNoState);
  }
  State& operator[](uint32_t i) { return states_[i]; }
  size_t size() const { return states_.size(); }

  uint32_t after(uint32_t state, uint32_t word, uint32_t context_node) {
    State next;
    const State& old = states_[state];
    next.length = std::min(old.length + 1, context_);
    next.words[0] = word;
    for (int i = 1; i < next.length; ++i) next.words[size_t(i)] = old.words[size_t(i - 1)];
    next.context_node = context_node;
    return intern(next);
  }

  uint32_t intern(const State& state) {
    if (states_.size() * 2 >= slots_.size()) grow();
    size_t mask = slots_.size() - 1;
    for (size_t i = hash(state) & mask;; i = (i + 1) & mask) {
      uint32_t found = slots_[i];
      if (found == kNoState) {
        slots_[i] = uint32_t(states_.size());
        states_.push_back(state);
        return uint32_t(states_.size() - 1);
      }
      if (same(states_[found], state)) return found;
    }
  }

 private:
  static bool same(const State& a, const State& b) {
    return a.length == b.length && a.context_node == b.context_node && a.words == b.words;
  }
  static uint64_t hash(const State& state) {
    uint64_t h = uint64_t(state.length) ^ (uint64_t(state.context_node) << 32);
    for (uint32_t word : state.words) {
      h = (h ^ word) * 0x9e3779b97f4a7c15ull;
      h ^= h >> 29;
    }
    return h;
  }
  void grow() {
    slots_.assign(slots_.size() * 2, kNoState);
    size_t mask = slots_.size() - 1;
    for (uint32_t s = 0; s < states_.size(); ++s) {
      size_t i = hash(states_[s]) & mask;
      while (slots_[i] != kNoState) i = (i + 1) & mask;
      slots_[i] = s;
    }
  }

  int context_;
  std::vector<State> states_;
  std::vector<uint32_t> slots_;
};

}  // namespace rivulet
