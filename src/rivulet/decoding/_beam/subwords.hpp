// What the network's other projection, into pieces of words, says of a word.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "graph.hpp"

namespace rivulet {

constexpr double kSubwordFloor = -7.0;  // nats: a piece that was not written at all costs no more
constexpr int kSubwordFrames = 4, kSubwordFramesALetter = 2, kSubwordLongest = 28;

// What words gain by the network's pieces in the last frames; see subwords.py.
class SubwordScorer {
 public:
  using Row = std::vector<std::pair<uint16_t, float>>;  // the pieces above the floor

  // `weight` of the pieces' log-probabilities and `bonus` for each, in the n-gram's currency.
  SubwordScorer(const Graph& graph, double weight, double bonus, bool used)
      : graph_(graph),
        weight_(weight),
        bonus_(bonus),
        heads_(used ? graph.most_piece() + 1 : 0, -1) {}

  // Takes the rows of the last frames up to now, the latest last.
  void push(const std::vector<Row>& rows) {
    for (uint16_t piece : touched_) heads_[piece] = -1;
    touched_.clear();
    entries_.clear();
    frames_ = int(std::min<size_t>(rows.size(), kSubwordLongest));
    for (int age = frames_ - 1; age >= 0; --age) {
      for (const auto& [piece, value] : rows[rows.size() - 1 - size_t(age)]) {
        if (piece >= heads_.size()) continue;  // no word has it
        if (heads_[piece] < 0) touched_.push_back(piece);
        entries_.push_back({value, age, heads_[piece]});
        heads_[piece] = int(entries_.size()) - 1;
      }
    }
  }

  // What a word that ends now gains, in nats.
  double bonus(uint32_t word) const {
    auto [begin, end] = graph_.pieces(word);
    int reach = std::min(kSubwordFrames + kSubwordFramesALetter * int(graph_.letters(word)), frames_);
    double clarity = 0.0;
    for (const uint16_t* piece = begin; piece != end; ++piece) {
      float most = float(kSubwordFloor);
      for (int i = heads_[*piece]; i >= 0 && entries_[size_t(i)].age < reach;
           i = entries_[size_t(i)].next)
        most = std::max(most, entries_[size_t(i)].value);
      clarity += double(most);
    }
    return weight_ * clarity + bonus_ * double(end - begin);
  }

 private:
  struct Entry {
    float value;
    int age, next;
  };
  const Graph& graph_;
  double weight_, bonus_;
  int frames_ = 0;
  std::vector<int> heads_;
  std::vector<Entry> entries_;
  std::vector<uint16_t> touched_;
};

}  // namespace rivulet
