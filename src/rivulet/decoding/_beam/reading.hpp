// What the hypotheses say: words to show, words that are settled, and what can be forgotten.
#pragma once

#include "search.hpp"

namespace rivulet {

// ---- reading what the paths say ----------------------------------------------------------------

// The words of a path and their places, counted from the frames that are still open.
inline void Search::words_at(uint32_t link, std::vector<Link>& out) const {
  out.clear();
  for (; link != kNoLink && links_[link].place > base_; link = links_[link].parent)
    out.push_back({kNoLink, links_[link].word, uint32_t(links_[link].place - base_)});
  std::reverse(out.begin(), out.end());
}

inline const Search::Reading& Search::reading() {
  if (reading_.valid) return reading_;
  reading_.valid = true;
  reading_.shared = 0;
  reading_.shown.clear();
  if (heard_.empty()) return reading_;
  uint32_t best = 0;
  for (uint32_t i = 1; i < live_.size(); ++i)
    if (live_[i].score > live_[best].score) best = i;
  reading_.best = best;
  unique_links();
  words_at(live_[best].link, own_);
  size_t shared = own_.size();
  for (uint32_t link : unique_) {
    words_at(link, other_);
    size_t k = 0;
    while (k < std::min(shared, other_.size()) && other_[k].word == own_[k].word) ++k;
    shared = k;
    if (shared == 0) break;
  }
  reading_.shared = int(shared);
  path_of(choose_shown(best, 0.0));
  reading_.shown = words_on_path();
  if (settled_.empty() && reading_.shown.empty()) {
    path_of(choose_shown(best, s_.display_bonus));
    reading_.shown = words_on_path();
  }
  return reading_;
}

inline void Search::unique_links() {
  unique_.clear();
  for (const Live& live : live_) unique_.push_back(live.link);
  std::sort(unique_.begin(), unique_.end());
  unique_.erase(std::unique(unique_.begin(), unique_.end()), unique_.end());
}

// The best hypothesis if each had paid for its open word already, and `bonus` more; see
// FlashlightSearch._shown.
inline uint32_t Search::choose_shown(uint32_t best, double bonus) const {
  double pending_penalty = std::min(0.0, s_.word_insertion_bonus) - bonus;
  double least = live_[best].score + pending_penalty, most = -INFINITY;
  uint32_t shown = best;
  for (uint32_t i = 0; i < live_.size(); ++i) {
    if (live_[i].score < least) continue;
    double value = live_[i].score + (is_open(i) ? pending_penalty : 0.0);
    if (value > most) {
      most = value;
      shown = i;
    }
  }
  return shown;
}

inline const Search::Trace& Search::trace(size_t place, size_t index) const {
  return trace_[trace_at_[place] + index];
}

// Whether a hypothesis is within a word.
inline bool Search::is_open(size_t index) const {
  for (size_t place = heard_.size(); place > 0; --place) {
    const Trace& at = trace(place, index);
    if (at.word) return false;
    if (at.token != kBlank) return true;
    index = at.parent;
  }
  return false;
}

// Fills `path_` with places 0 to the number of open frames.
inline void Search::path_of(size_t index) {
  path_.resize(heard_.size() + 1);
  for (size_t place = heard_.size();; --place) {
    path_[place] = trace(place, index);
    if (place == 0) break;
    index = path_[place].parent;
  }
}

inline std::vector<Word> Search::words_on_path() const {
  std::vector<Word> words;
  size_t start = 0;
  for (size_t place = 1; place < path_.size(); ++place) {
    if (start == 0 && path_[place].token != kBlank) start = place;
    if (!path_[place].word) continue;
    words.push_back(word_on_path(path_[place].word - 1, start ? start : place, place));
    start = 0;
  }
  if (!words.empty() && open_since_ >= 0) words[0].start = open_since_;
  return words;
}

inline Word Search::word_on_path(uint32_t id, size_t first, size_t last) const {
  double agreement = 0.0, sharpness = 0.0;
  int spoken = 0;
  for (size_t place = first; place <= last; ++place) {
    const float* row = &emissions_[(place - 1) * size_t(columns_)];
    float most = most_[place - 1];
    agreement += double(row[path_[place].token] - most);
    sharpness += double(most);
    spoken += path_[place].token != kBlank;
  }
  double frames = double(last - first + 1);
  return {id, heard_[first - 1], heard_[last - 1] + 1, agreement / frames, sharpness / frames,
          spoken};
}

inline std::vector<Word> Search::words_of(size_t ended) {
  path_of(ended_[ended]);
  return words_on_path();
}

inline void Search::find_alternatives() {
  alternatives_.clear();
  std::string settled;
  for (const Word& word : settled_) append(settled, word.id);
  for (size_t i = 0; i < ended_.size() && int(alternatives_.size()) < s_.alternatives; ++i) {
    std::string text = settled;
    words_at(live_[ended_[i]].link, other_);
    for (const Link& link : other_) append(text, link.word);
    bool known = std::any_of(alternatives_.begin(), alternatives_.end(),
                             [&](const auto& other) { return other.first == text; });
    if (!known) alternatives_.emplace_back(text, order_[i].first);
  }
}

inline void Search::append(std::string& text, uint32_t word) const {
  if (!text.empty()) text += ' ';
  text += graph_->text(word);
}

// ---- forgetting --------------------------------------------------------------------------------

// What is settled goes, and the rest is searched anew.
inline std::vector<Word> Search::finish_settled() {
  const Reading& read = reading();
  std::vector<Word> words = settled_;
  size_t place = 0;
  if (!heard_.empty()) {
    path_of(read.best);
    std::vector<Word> best = words_on_path();
    words.insert(words.end(), best.begin(), best.begin() + read.shared);
    words_at(live_[read.best].link, own_);
    place = read.shared ? own_[size_t(read.shared) - 1].place : 0;
  }
  std::vector<int> frames(heard_.begin() + long(place), heard_.end());
  std::vector<float> rest(emissions_.begin() + long(place * size_t(columns_)), emissions_.end());
  std::vector<SubwordScorer::Row> rows;
  if (s_.reads_subwords) rows.assign(subword_rows_.begin() + long(place), subword_rows_.end());
  alternatives_.clear();
  begin();
  for (size_t i = 0; i < frames.size(); ++i)
    take(frames[i], &rest[i * size_t(columns_)],
         s_.reads_subwords ? std::move(rows[i]) : SubwordScorer::Row{});
  return words;
}

// Forgets what no live hypothesis needs: states, links, and words settled for good.
inline void Search::prune() {
  const Reading& read = reading();
  words_at(live_[read.best].link, own_);
  size_t count = separable(size_t(read.shared));
  if (count) {
    size_t place = own_[count - 1].place + 1;
    path_of(read.best);
    std::vector<Word> best = words_on_path();
    settled_.insert(settled_.end(), best.begin(), best.begin() + long(count));
    open_since_ = path_[place].token != kBlank ? heard_[place - 1] : -1;
    drop_frames(place);
    reading_.valid = false;
  }
  keep_live();
}

// Leading settled words that end before all others begin.
inline size_t Search::separable(size_t shared) {
  unique_links();
  for (size_t count = shared; count > 0; --count) {
    uint32_t place = own_[count - 1].place + 1;
    if (place > heard_.size()) continue;
    bool fits = true;
    for (uint32_t link : unique_) {
      words_at(link, other_);
      fits = fits && other_[count - 1].place <= place &&
             (other_.size() == count || other_[count].place > place);
    }
    if (fits) return count;
  }
  return 0;
}

inline void Search::drop_frames(size_t place) {
  size_t first = trace_at_[place];
  trace_.erase(trace_.begin(), trace_.begin() + long(first));
  trace_at_.erase(trace_at_.begin(), trace_at_.begin() + long(place));
  for (size_t& at : trace_at_) at -= first;
  heard_.erase(heard_.begin(), heard_.begin() + long(place));
  emissions_.erase(emissions_.begin(), emissions_.begin() + long(place * size_t(columns_)));
  most_.erase(most_.begin(), most_.begin() + long(place));
  if (s_.reads_subwords) subword_rows_.erase(subword_rows_.begin(), subword_rows_.begin() + long(place));
  base_ += place;
  double most = -INFINITY;
  for (const Live& live : live_) most = std::max(most, live.score);
  if (std::isfinite(most))
    for (Live& live : live_) live.score -= most;
}

// Renumbers states and links so that only those of live hypotheses are left.
inline void Search::keep_live() {
  std::vector<State> kept;
  for (const Live& live : live_) kept.push_back(states_[live.state]);
  states_.clear();
  forget_scores();
  std::vector<uint32_t> numbers(links_.size(), kNoLink);
  for (const Live& live : live_)
    for (uint32_t l = live.link; l != kNoLink && links_[l].place > base_; l = links_[l].parent)
      numbers[l] = 0;
  uint32_t count = 0;
  for (uint32_t l = 0; l < links_.size(); ++l) {
    if (numbers[l] == kNoLink) continue;
    Link link = links_[l];
    link.parent = link.parent == kNoLink ? kNoLink : numbers[link.parent];
    numbers[l] = count;
    links_[count++] = link;
  }
  links_.resize(count);
  for (size_t i = 0; i < live_.size(); ++i) {
    live_[i].state = states_.intern(kept[i]);
    live_[i].link = live_[i].link == kNoLink ? kNoLink : numbers[live_[i].link];
  }
}

}  // namespace rivulet
