// The beam search of one stream: log_probs of phones → words. The rules are those of flashlight-text's
// LexiconDecoder, of rivulet's n-gram with merged histories, and of its decoder around both; see
// README.md, and flashlight.py, which this is tested against.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "graph.hpp"
#include "subwords.hpp"
#include "states.hpp"

namespace rivulet {

constexpr int kBlank = 0;
constexpr float kNever = -1e4f;  // log-probability of what cannot be
constexpr uint32_t kNoLink = 0xffffffffu;

struct Settings {
  int beam_size, beam_tokens;
  double beam_threshold, beam_token_threshold, lm_weight, word_insertion_bonus;
  double subword_weight, subword_bonus;  // in the n-gram's currency: already divided by lm_weight
  bool reads_subwords;
  int first_phone;  // columns of pieces before the phones'
  int alternatives;
  int prune_every;       // frames
  float blank_skip;      // log-probability
  double display_bonus;  // nats, for the first word of a segment
};

// A word, its output frames [start, end), and what the search saw of it.
struct Word {
  uint32_t id;
  int start, end;
  double agreement, sharpness;
  int phones;
};

// Its step is here; what is read off the hypotheses stands in reading.hpp.
class Search {
 public:
  Search(std::shared_ptr<const Graph> graph, const Settings& settings,
         std::vector<float> favor, std::vector<int> columns_of_phones, std::vector<float> noise)
      : graph_(std::move(graph)),
        s_(settings),
        phones_(int(favor.size())),
        columns_(2 * int(favor.size())),
        favor_(std::move(favor)),
        noise_(std::move(noise)),
        column_of_(std::move(columns_of_phones)),
        states_(graph_->ngram().order() - 1),
        subwords_(*graph_, settings.subword_weight, settings.subword_bonus, settings.reads_subwords),
        before_(favor_.size(), -INFINITY) {
    check();
    before_[kBlank] = 0.0f;  // before the first frame is the blank
    unread_.assign(s_.reads_subwords ? size_t(s_.first_phone) : 0, -INFINITY);
    size_t entries = 1024;
    while (entries < size_t(s_.beam_size) * 32) entries *= 2;
    scores_.resize(entries);
    begin();
  }

  int frame() const { return frame_; }
  bool silent() const { return silent_; }
  size_t open_frames() const { return heard_.size(); }
  int first_phone() const { return s_.first_phone; }
  int columns() const { return s_.first_phone + phones_; }
  const Graph& graph() const { return *graph_; }
  const std::vector<std::pair<std::string, double>>& alternatives() const { return alternatives_; }

  // Bytes that the stream holds, the shared graph left out.
  size_t bytes() const {
    return trace_.capacity() * sizeof(Trace) + live_.capacity() * sizeof(Live) +
           candidates_.capacity() * sizeof(Candidate) + states_.size() * sizeof(State) * 2 +
           scores_.capacity() * sizeof(Score) + emissions_.capacity() * sizeof(float) +
           links_.capacity() * sizeof(Link) + slots_.capacity() * sizeof(uint64_t) +
           order_.capacity() * sizeof(order_[0]);
  }

  // Searches one output frame: pieces, then phones; natural-log probabilities.
  void push(const float* row) {
    const float* phones = row + s_.first_phone;
    for (int i = 0; i < phones_; ++i)
      if (std::isnan(phones[i]) || phones[i] > 1e30f)
        throw std::invalid_argument("log_probs hold " + std::to_string(phones[i]) + " in frame " +
                                    std::to_string(frame_) + "; give natural-log probabilities.");
    silent_ = std::max_element(phones, phones + phones_) == phones;
    read_subwords(row);
    bool needless = std::min(phones[kBlank], before_[kBlank]) > s_.blank_skip;
    if (!needless || heard_.empty()) {
      make_emissions(phones);
      take(frame_, row_.data(), std::move(unread_row()));
    }
    std::copy(phones, phones + phones_, before_.begin());
    ++frame_;
  }

  std::vector<Word> words() {
    std::vector<Word> all = settled_;
    const auto& shown = reading().shown;
    all.insert(all.end(), shown.begin(), shown.end());
    return all;
  }

  // Leading words that every live hypothesis begins with.
  int settled() { return int(settled_.size()) + reading().shared; }

  std::vector<Word> finish_segment(bool keep_open_word) {
    if (keep_open_word && settled() > 0) return finish_settled();
    end_sentence();
    std::vector<Word> words = settled_;
    for (const Word& word : words_of(0)) words.push_back(word);
    find_alternatives();
    begin();
    return words;
  }

 private:
  struct Live {
    double score;
    uint32_t state, node, link;
    uint16_t token;
    bool blank;  // whether it ends in a blank
  };
  struct Trace {
    uint32_t word;  // that ends here, plus one; 0 for none
    uint16_t parent, token;
  };
  struct Candidate {
    double score;
    uint32_t state, node, word;  // word as in Trace
    uint16_t parent, token;
    bool blank;
  };
  // A word on a path, and the frame where it ends, counted from the segment's first.
  struct Link {
    uint32_t parent, word, place;
  };
  struct Score {
    uint32_t state = kNoState, word = 0, next = kNoState;
    double value = 0.0;
  };
  struct Reading {
    bool valid = false;
    uint32_t best = 0;
    int shared = 0;
    std::vector<Word> shown;
  };

  void check() const {
    if (phones_ < 1 || columns_ > 65535 || column_of_.size() != graph_->phones() + 1)
      throw std::invalid_argument("the phones do not fit the graph's.");
    for (int column : column_of_)
      if (column < 0 || column >= phones_)
        throw std::invalid_argument("a phone has a column outside the log_probs.");
    if (noise_.empty() || noise_.size() % size_t(columns_) != 0)
      throw std::invalid_argument("the noise does not fit the columns.");
    if (s_.beam_size < 1 || s_.beam_size > 65535 || s_.beam_tokens < 1 || s_.first_phone < 0 ||
        s_.prune_every < 1)
      throw std::invalid_argument("the beam's settings are out of range.");
    for (double value : {s_.beam_threshold, s_.beam_token_threshold, s_.lm_weight, s_.word_insertion_bonus,
                         s_.subword_weight, s_.subword_bonus, double(s_.blank_skip), s_.display_bonus})
      if (!std::isfinite(value)) throw std::invalid_argument("a setting of the beam is no number.");
    if (s_.reads_subwords && !graph_->lexicon().has_pieces())
      throw std::invalid_argument("the graph holds no pieces of words.");
  }

  void begin() {
    trace_.clear();
    trace_at_.clear();
    live_.clear();
    links_.clear();
    heard_.clear();
    emissions_.clear();
    most_.clear();
    subword_rows_.clear();
    settled_.clear();
    open_since_ = -1;
    base_ = 0;
    reading_.valid = false;
    states_.clear();
    forget_scores();
    uint32_t start = states_.intern(State{});
    live_.push_back({0.0, start, graph_->root(), kNoLink, uint16_t(columns_ - 1), false});
    trace_at_.push_back(0);
    trace_.push_back({0, 0, uint16_t(columns_ - 1)});
  }

  void forget_scores() { std::fill(scores_.begin(), scores_.end(), Score{}); }

  // ---- one frame -------------------------------------------------------------------------------

  void read_subwords(const float* row) {
    const float floor = float(kSubwordFloor);
    int count = int(unread_.size());
    for (int i = 0; i < count; i += 8) {
      int end = std::min(i + 8, count), hit = 0;
      for (int k = i; k < end; ++k) hit |= row[k] > floor;
      if (!hit) continue;
      for (int k = i; k < end; ++k) {
        if (!(row[k] > unread_[size_t(k)]) || !(row[k] > floor)) continue;
        if (unread_[size_t(k)] == -INFINITY) unread_list_.push_back(uint16_t(k));
        unread_[size_t(k)] = std::min(row[k], 1e30f);
      }
    }
  }

  SubwordScorer::Row& unread_row() {
    taken_.clear();
    for (uint16_t piece : unread_list_) {
      taken_.emplace_back(piece, unread_[piece]);
      unread_[piece] = -INFINITY;
    }
    unread_list_.clear();
    return taken_;
  }

  // What the search reads: blank, phones, the same phones going on (possible where that phone was
  // likelier than the blank), and one between words that never happens.
  void make_emissions(const float* phones) {
    row_.resize(size_t(columns_));
    const float* noise =
        &noise_[size_t(frame_) % (noise_.size() / size_t(columns_)) * size_t(columns_)];
    float blank_before = before_[kBlank] + favor_[kBlank];
    for (int i = 0; i < phones_; ++i) {
      float value = phones[i] + favor_[size_t(i)];
      row_[size_t(i)] = value + noise[i];
      if (i == 0) continue;
      int held = phones_ + i - 1;
      bool likely = before_[size_t(i)] + favor_[size_t(i)] >= blank_before;
      row_[size_t(held)] = (likely ? value : kNever) + noise[held];
    }
    row_[size_t(columns_ - 1)] = kNever + noise[columns_ - 1];
  }

  void take(int frame, const float* emissions, SubwordScorer::Row pieces) {
    heard_.push_back(frame);
    emissions_.insert(emissions_.end(), emissions, emissions + columns_);
    most_.push_back(*std::max_element(emissions, emissions + columns_));
    if (s_.reads_subwords) {
      subword_rows_.push_back(std::move(pieces));
      subwords_.push(subword_rows_);
    }
    step(emissions);
    reading_.valid = false;
    if (int(heard_.size()) % s_.prune_every == 0) prune();
    else if (states_.size() > size_t(s_.beam_size) * 64 + 4096) keep_live();
  }

  // The columns tried: the likeliest that are close enough to the very likeliest.
  void choose_columns(const float* emissions) {
    tried_.assign(size_t(columns_), 0);
    float least = most_.back() - float(s_.beam_token_threshold);
    columns_order_.clear();
    for (int i = 0; i < columns_; ++i)
      if (emissions[i] > least) columns_order_.push_back(uint16_t(i));
    size_t count = std::min<size_t>(columns_order_.size(), size_t(std::min(s_.beam_tokens, columns_)));
    std::partial_sort(columns_order_.begin(), columns_order_.begin() + long(count),
                      columns_order_.end(),
                      [&](uint16_t a, uint16_t b) { return emissions[a] > emissions[b]; });
    for (size_t i = 0; i < count; ++i) tried_[columns_order_[i]] = 1;
    root_tried_.clear();
    for (uint32_t phone = 1; phone <= graph_->phones(); ++phone)
      if (tried_[size_t(column_of_[phone])] && graph_->root_child(uint8_t(phone)) != graph_->root())
        root_tried_.push_back(uint8_t(phone));
  }

  void add(double score, uint32_t state, uint32_t node, size_t parent, int token, uint32_t word,
           bool blank) {
    if (score > best_) best_ = score;
    if (score >= best_ - s_.beam_threshold)
      candidates_.push_back({score, state, node, word, uint16_t(parent), uint16_t(token), blank});
  }

  void end_word(const Live& from, size_t parent, double score, float promised, int token,
                uint32_t word) {
    Score& found = score_of(from.state, word);
    double value = found.value;
    if (s_.reads_subwords) value += subwords_.bonus(word);
    double gained = double(float(value) - promised);
    double total = score + s_.lm_weight * gained + s_.word_insertion_bonus;
    if (total < best_ - s_.beam_threshold) return;
    if (found.next == kNoState) {
      uint32_t node = states_[from.state].context_node;
      if (!graph_->context().empty()) node = graph_->context().step(node, word).first;
      found.next = states_.after(from.state, word, node);
    }
    add(total, found.next, graph_->root(), parent, token, word + 1, false);
  }

  void extend(const Live& from, size_t parent, const float* emissions) {
    const uint32_t root = graph_->root();
    bool at_root = from.node == root;
    float promised = at_root ? 0.0f : graph_->max(from.node);
    auto enter = [&](uint32_t child, uint8_t phone) {
      int column = column_of_[phone];
      double score = from.score + double(emissions[column]);
      if (from.blank || column != from.token)
        add(score + s_.lm_weight * double(graph_->max(child) - promised), from.state, child, parent,
            column, 0, false);
      if (at_root && from.token == column) return;
      for (uint32_t word : graph_->labels(child))
        end_word(from, parent, score, promised, column, word);
    };
    if (at_root) {
      for (uint8_t phone : root_tried_) enter(graph_->root_child(phone), phone);
    } else {
      graph_->children(from.node, [&](uint32_t child, uint8_t phone) {
        if (tried_[size_t(column_of_[phone])]) enter(child, phone);
      });
      // every word is in the tree once more, its last phone going on
      int held = phones_ + column_of_[graph_->token(from.node)] - 1;
      if (tried_[size_t(held)])
        for (uint32_t word : graph_->labels(from.node))
          end_word(from, parent, from.score + double(emissions[held]), promised, held, word);
    }
    if (!from.blank || at_root) {
      int same = at_root ? columns_ - 1 : from.token;
      add(from.score + double(emissions[same]), from.state, from.node, parent, same, 0, false);
    }
    add(from.score + double(emissions[kBlank]), from.state, from.node, parent, kBlank, 0, true);
  }

  void step(const float* emissions) {
    choose_columns(emissions);
    candidates_.clear();
    best_ = -INFINITY;
    for (const Live& live : live_)
      best_ = std::max(best_, live.score + double(emissions[kBlank]));
    for (size_t i = 0; i < live_.size(); ++i) extend(live_[i], i, emissions);
    keep_best();
    uint32_t place = uint32_t(base_ + heard_.size());
    next_.clear();
    trace_at_.push_back(trace_.size());
    for (const auto& [score, index] : order_) {
      const Candidate& c = candidates_[index];
      uint32_t link = live_[c.parent].link;
      if (c.word) {
        links_.push_back({link, c.word - 1, place});
        link = uint32_t(links_.size() - 1);
      }
      next_.push_back({score, c.state, c.node, link, c.token, c.blank});
      trace_.push_back({c.word, c.parent, c.token});
    }
    live_.swap(next_);
  }

  // Sums candidates that can't be told apart from here on, and puts the best sums into `order_`,
  // each with the likeliest of its candidates.
  void keep_best() {
    double least = best_ - s_.beam_threshold;
    size_t size = 256;
    while (size < candidates_.size() * 2) size *= 2;
    if (slots_.size() < size) {
      slots_.assign(size, 0);
      round_ = 0;
    }
    if (++round_ == 0) {
      std::fill(slots_.begin(), slots_.end(), 0);
      round_ = 1;
    }
    size_t mask = slots_.size() - 1;
    order_.clear();
    for (uint32_t n = 0; n < candidates_.size(); ++n) {
      const Candidate& c = candidates_[n];
      if (c.score < least) continue;
      uint64_t h = (uint64_t(c.state) << 32 | c.node) * 0x9e3779b97f4a7c15ull;
      h = (h ^ (h >> 31) ^ (uint64_t(c.token) << 1 | c.blank)) * 0xd6e8feb86659fd93ull;
      for (size_t i = (h >> 20) & mask;; i = (i + 1) & mask) {
        uint64_t slot = slots_[i];
        if (uint32_t(slot >> 32) != round_) {
          slots_[i] = uint64_t(round_) << 32 | order_.size();
          order_.emplace_back(c.score, n);
          break;
        }
        auto& kept = order_[uint32_t(slot)];
        const Candidate& o = candidates_[kept.second];
        if (o.state == c.state && o.node == c.node && o.token == c.token && o.blank == c.blank) {
          kept = {log_add(kept.first, c.score), c.score > o.score ? n : kept.second};
          break;
        }
      }
    }
    size_t most = size_t(s_.beam_size);
    if (order_.size() > most) {
      std::nth_element(order_.begin(), order_.begin() + long(most), order_.end(),
                       [](const auto& a, const auto& b) { return a.first > b.first; });
      order_.resize(most);
    }
  }

  // What a word scores after a state, pieces left out: n-gram, hot phrases, and up to a thousandth of a
  // nat, so that words which a quantized model scores alike leave no ties.
  Score& score_of(uint32_t state, uint32_t word) {
    uint64_t h = (uint64_t(state) << 32 | word) * 0x9e3779b97f4a7c15ull;
    Score& entry = scores_[(h >> 32) & (scores_.size() - 1)];
    if (entry.state == state && entry.word == word) return entry;
    const NGram& ngram = graph_->ngram();
    double bonus = tie_break_of(word);
    if (!graph_->context().empty()) bonus += graph_->context().step(states_[state].context_node, word).second;
    float log10_prob = ngram.log10_prob(contexts(state), ngram.target(word));
    entry = {state, word, kNoState, double(log10_prob) * kLn10 + bonus};
    return entry;
  }

  static double tie_break_of(uint32_t word) {
    return -1e-3 * double(1000 + uint64_t(word) * 7919 % 10007) / 11007.0;
  }

  const Contexts& contexts(uint32_t state) {
    State& found = states_[state];
    if (!found.known) {
      found.contexts = graph_->ngram().contexts(found.words.data(), found.length);
      found.known = true;
    }
    return found.contexts;
  }

  // flashlight's decodeEnd: paths at a word's end if there are any, each with the sentence's end.
  void end_sentence() {
    const uint32_t root = graph_->root();
    bool nice = std::any_of(live_.begin(), live_.end(), [&](const Live& l) { return l.node == root; });
    candidates_.clear();
    best_ = -INFINITY;
    for (size_t i = 0; i < live_.size(); ++i) {
      const Live& live = live_[i];
      if (nice && live.node != root) continue;
      const NGram& ngram = graph_->ngram();
      double ends = double(ngram.log10_prob(contexts(live.state), ngram.end_mark())) * kLn10 -
                    graph_->context().penalty(states_[live.state].context_node);
      add(live.score + s_.lm_weight * double(float(ends)), live.state, live.node, i, columns_ - 1, 0,
          false);
    }
    keep_best();
    std::sort(order_.begin(), order_.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    ended_.clear();
    for (const auto& [score, index] : order_) ended_.push_back(candidates_[index].parent);
  }

  // reading.hpp: reading what the paths say
  void words_at(uint32_t link, std::vector<Link>& out) const;
  const Reading& reading();
  void unique_links();
  uint32_t choose_shown(uint32_t best, double bonus) const;
  const Trace& trace(size_t place, size_t index) const;
  bool is_open(size_t index) const;
  void path_of(size_t index);
  std::vector<Word> words_on_path() const;
  Word word_on_path(uint32_t id, size_t first, size_t last) const;
  std::vector<Word> words_of(size_t ended);
  void find_alternatives();
  void append(std::string& text, uint32_t word) const;

  // reading.hpp: forgetting
  std::vector<Word> finish_settled();
  void prune();
  size_t separable(size_t shared);
  void drop_frames(size_t place);
  void keep_live();

  std::shared_ptr<const Graph> graph_;
  Settings s_;
  int phones_, columns_;
  std::vector<float> favor_, noise_;
  std::vector<int> column_of_;  // of each phone of the graph, from 1
  int frame_ = 0;
  bool silent_ = true;

  std::vector<Live> live_, next_;
  std::vector<Trace> trace_;
  std::vector<size_t> trace_at_;  // where the hypotheses of place 0, 1, … begin in `trace_`
  std::vector<Link> links_;
  States states_;
  std::vector<Score> scores_;
  std::vector<Candidate> candidates_;
  std::vector<std::pair<double, uint32_t>> order_;
  std::vector<uint64_t> slots_;
  uint32_t round_ = 0;
  double best_ = 0.0;
  std::vector<uint16_t> ended_;

  SubwordScorer subwords_;
  std::vector<SubwordScorer::Row> subword_rows_;
  std::vector<float> unread_;  // the pieces' highest since the last frame that was searched
  std::vector<uint16_t> unread_list_;
  SubwordScorer::Row taken_;

  std::vector<float> before_, row_, emissions_, most_;
  std::vector<int> heard_;  // output frames that are open
  size_t base_ = 0;         // frames of the segment that left the search
  std::vector<uint8_t> tried_, root_tried_;
  std::vector<uint16_t> columns_order_;

  std::vector<Word> settled_;
  int open_since_ = -1;  // frame in which the first open word began
  Reading reading_;
  std::vector<Trace> path_;
  std::vector<Link> own_, other_;
  std::vector<uint32_t> unique_;
  std::vector<std::pair<std::string, double>> alternatives_;
};

}  // namespace rivulet

#include "reading.hpp"
