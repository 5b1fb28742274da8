// What the beam walks through, shared by all streams and never changed: lexicon tree, subword ids of
// every word, n-gram, and hot words laid over them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "ngram.hpp"
#include "sections.hpp"

namespace rivulet {

constexpr double kLn10 = 2.302585092994045684;  // scores are log10 in the file and natural outside
constexpr size_t kHomophones = 6;               // words kept for one pronunciation

// Adds two probabilities, given and returned as natural logarithms.
inline double log_add(double a, double b) {
  if (a < b) std::swap(a, b);
  return a == b ? a + std::log(2.0) : a + std::log1p(std::exp(b - a));
}

// A node of the lexicon tree; its children and labels end where the next node's begin.
struct Node {
  uint32_t first, label;
  float max;  // what the best word below scores as the first of a sentence, natural logarithm
};
static_assert(sizeof(Node) == 12, "as in the file");

struct IdRange {
  const uint32_t* first;
  const uint32_t* last;
  const uint32_t* begin() const { return first; }
  const uint32_t* end() const { return last; }
  bool empty() const { return first == last; }
};

// The file, checked once: no index in it leads astray. Phones, words and subwords are numbered as in it.
class Lexicon {
 public:
  explicit Lexicon(const Sections& file) {
    words_ = file.get<NGram::Meta>("meta", 1)[0].words;
    auto sizes = file.get<uint32_t>("sizes", 2);
    nodes_count_ = sizes[0];
    phones_ = sizes[1];
    if (nodes_count_ < 1 || nodes_count_ > (1u << 30) || phones_ < 1 || phones_ > 255)
      throw FileError("it states " + std::to_string(nodes_count_) + " nodes and " +
                      std::to_string(phones_) + " phones");
    tokens_ = file.get<uint8_t>("tokens", nodes_count_);
    nodes_ = file.get<Node>("nodes", size_t(nodes_count_) + 1);
    size_t labels = nodes_[nodes_count_].label;
    labels_ = file.get<uint32_t>("labels", labels);
    check_offsets(&nodes_[0].first, size_t(nodes_count_) + 1, 3, nodes_count_, "nodes' children");
    check_offsets(&nodes_[0].label, size_t(nodes_count_) + 1, 3, labels, "nodes' words");
    word_offsets_ = file.get<uint32_t>("words.at", size_t(words_) + 1);
    check_offsets(word_offsets_.data, size_t(words_) + 1, 1, file.get<char>("words", 0).size,
                  "words");
    text_ = file.get<char>("words", 0);
    check_values();
    if (file.has("piece.at")) {
      piece_offsets_ = file.get<uint32_t>("piece.at", size_t(words_) + 1);
      pieces_ = file.get<uint16_t>("pieces", piece_offsets_[words_]);
      check_offsets(piece_offsets_.data, size_t(words_) + 1, 1, pieces_.size, "words' pieces");
      for (size_t i = 0; i < piece_offsets_[words_]; ++i)
        most_piece_ = std::max(most_piece_, pieces_[i]);
    }
  }

  uint32_t words() const { return words_; }
  uint32_t nodes() const { return nodes_count_; }
  uint32_t phones() const { return phones_; }
  uint32_t most_piece() const { return most_piece_; }
  bool has_pieces() const { return piece_offsets_.data != nullptr; }
  uint8_t token(uint32_t node) const { return tokens_[node]; }
  const Node& node(uint32_t i) const { return nodes_[i]; }
  IdRange labels(uint32_t i) const {
    return {labels_.data + nodes_[i].label, labels_.data + nodes_[i + 1].label};
  }
  std::string text(uint32_t word) const {
    return std::string(text_.data + word_offsets_[word], letters(word));
  }
  uint32_t letters(uint32_t word) const { return word_offsets_[word + 1] - word_offsets_[word]; }
  std::pair<const uint16_t*, const uint16_t*> pieces(uint32_t word) const {
    return {pieces_.data + piece_offsets_[word], pieces_.data + piece_offsets_[word + 1]};
  }

 private:
  void check_values() const {
    bool wrong = false;
    for (uint32_t i = 1; i < nodes_count_; ++i) wrong |= tokens_[i] < 1 || tokens_[i] > phones_;
    for (uint32_t i = 0; i < nodes_count_; ++i) wrong |= !std::isfinite(nodes_[i].max);
    for (size_t i = 0; i < nodes_[nodes_count_].label; ++i) wrong |= labels_[i] >= words_;
    for (size_t i = 0; i < word_offsets_[words_]; ++i) wrong |= text_[i] < '!' || text_[i] > '~';
    if (wrong) throw FileError("its tree holds phones, words or scores that cannot be");
  }

  uint32_t words_ = 0, nodes_count_ = 0, phones_ = 0;
  uint16_t most_piece_ = 0;
  View<uint8_t> tokens_;
  View<Node> nodes_;
  View<uint32_t> labels_, word_offsets_, piece_offsets_;
  View<uint16_t> pieces_;
  View<char> text_;
};

// Which hot phrases are under way after some words (Aho and Corasick 1975); see hotwords.py. A node is
// a proper beginning of a phrase; each word of a phrase is paid its part of the boost as it comes, and
// a phrase that breaks off pays it back as a penalty. Node 0 is none.
class ContextGraph {
 public:
  using Words = std::vector<uint32_t>;

  ContextGraph() : nodes_{Words{}} {}
  explicit ContextGraph(const std::vector<std::pair<Words, double>>& phrases) : ContextGraph() {
    for (const auto& [ids, boost] : phrases) {
      boosts_[ids] = boost;
      for (size_t count = 1; count < ids.size(); ++count) {
        double part = boost * double(count) / double(ids.size());
        double& paid = paid_[Words(ids.begin(), ids.begin() + long(count))];
        paid = std::max(part, paid);
      }
      words_.insert(ids.begin(), ids.end());
    }
    for (const auto& [node, paid] : paid_) {
      ids_[node] = uint32_t(nodes_.size());
      nodes_.push_back(node);
    }
  }

  bool empty() const { return boosts_.empty(); }

  // The node after `word`, and what it gains in nats; a loss is negative.
  std::pair<uint32_t, double> step(uint32_t node, uint32_t word) const {
    if (!words_.count(word)) return {0, 0.0 - penalty(node)};
    Words words = nodes_[node];
    words.push_back(word);
    double bonus = 0.0;
    for (size_t i = 0; i < words.size(); ++i) {
      auto found = boosts_.find(Words(words.begin() + long(i), words.end()));
      if (found != boosts_.end()) bonus = std::max(bonus, found->second);
    }
    while (!words.empty() && !paid_.count(words)) words.erase(words.begin());
    uint32_t after = words.empty() ? 0 : ids_.at(words);
    return {after, bonus + penalty(after) - penalty(node)};
  }

  // What has to be paid back if nothing more is spoken, in nats.
  double penalty(uint32_t node) const { return node ? paid_.at(nodes_[node]) : 0.0; }

 private:
  std::map<Words, double> paid_, boosts_;
  std::vector<Words> nodes_;
  std::map<Words, uint32_t> ids_;
  std::unordered_set<uint32_t> words_;
};

// Hot words: nodes that stand for those of the file on the way to the words that gain.
struct HotNode {
  uint8_t token = 0;
  float max = 0.0f;
  std::vector<uint32_t> children, labels;
};

struct HotWord {
  std::string text;
  std::vector<uint16_t> pieces;
};

struct Sound {
  uint32_t word;
  std::vector<uint8_t> phones;
};

class Graph {
 public:
  // `owner` keeps the bytes alive.
  Graph(const uint8_t* data, size_t size, std::shared_ptr<void> owner)
      : owner_(std::move(owner)) {
    Sections file(data, size);
    ngram_ = NGram(file);
    ngram_.check_values();
    lexicon_ = std::make_shared<Lexicon>(file);
    phones_ = lexicon_->phones();
    find_root_children();
  }

  // The same graph in which phrases gain; `words` are those that the file lacks, numbered after its own.
  std::shared_ptr<Graph> with_hot_words(
      std::vector<HotWord> words, const std::vector<std::pair<ContextGraph::Words, double>>& phrases,
      const std::vector<Sound>& sounds, const std::unordered_map<uint32_t, double>& boosts) const {
    auto made = std::make_shared<Graph>(*this);
    made->hot_words_ = std::move(words);
    made->context_ = ContextGraph(phrases);
    made->hot_nodes_.clear();
    made->graft_all(sounds, boosts);
    made->find_root_children();
    return made;
  }

  const NGram& ngram() const { return ngram_; }
  const Lexicon& lexicon() const { return *lexicon_; }
  // Phones are 1 to phones(): the file's, and those that only hot words have.
  uint32_t phones() const { return phones_; }
  const ContextGraph& context() const { return context_; }
  uint32_t words() const { return lexicon_->words() + uint32_t(hot_words_.size()); }
  uint32_t root() const { return root_; }

  uint8_t token(uint32_t node) const {
    return is_hot(node) ? hot(node).token : lexicon_->token(node);
  }
  float max(uint32_t node) const { return is_hot(node) ? hot(node).max : lexicon_->node(node).max; }
  IdRange labels(uint32_t node) const {
    if (!is_hot(node)) return lexicon_->labels(node);
    const auto& labels = hot(node).labels;
    return {labels.data(), labels.data() + labels.size()};
  }
  template <class F>
  void children(uint32_t node, F&& call) const {
    if (is_hot(node)) {
      for (uint32_t child : hot(node).children) call(child, token(child));
      return;
    }
    uint32_t end = lexicon_->node(node + 1).first;
    for (uint32_t child = lexicon_->node(node).first; child < end; ++child)
      call(child, lexicon_->token(child));
  }
  // The child of the root that begins with a phone; none is the root itself.
  uint32_t root_child(uint8_t phone) const { return root_children_[phone]; }

  std::string text(uint32_t word) const {
    uint32_t known = lexicon_->words();
    return word < known ? lexicon_->text(word) : hot_words_[word - known].text;
  }
  uint32_t letters(uint32_t word) const {
    uint32_t known = lexicon_->words();
    return word < known ? lexicon_->letters(word) : uint32_t(hot_words_[word - known].text.size());
  }
  std::pair<const uint16_t*, const uint16_t*> pieces(uint32_t word) const {
    uint32_t known = lexicon_->words();
    if (word < known) return lexicon_->pieces(word);
    const auto& pieces = hot_words_[word - known].pieces;
    return {pieces.data(), pieces.data() + pieces.size()};
  }
  uint32_t most_piece() const {
    uint32_t most = lexicon_->most_piece();
    for (const auto& word : hot_words_)
      for (uint16_t piece : word.pieces) most = std::max<uint32_t>(most, piece);
    return most;
  }

  // Natural-log probability of a word to begin a sentence.
  double chance(uint32_t word) const {
    return double(ngram_.log10_prob(ngram_.contexts(nullptr, 0), ngram_.target(word))) * kLn10;
  }

 private:
  using Ways = std::map<std::vector<uint8_t>, std::vector<std::pair<uint32_t, float>>>;

  bool is_hot(uint32_t node) const { return node >= lexicon_->nodes(); }
  const HotNode& hot(uint32_t node) const { return hot_nodes_[node - lexicon_->nodes()]; }

  void find_root_children() {
    root_children_.assign(256, root_);
    children(root_, [&](uint32_t child, uint8_t token) { root_children_[token] = child; });
  }

  static constexpr uint32_t kNone = 0xffffffffu;

  uint32_t walk(const std::vector<uint8_t>& phones) const {
    uint32_t node = 0;
    for (uint8_t phone : phones) {
      uint32_t next = kNone;
      uint32_t end = lexicon_->node(node + 1).first;
      for (uint32_t child = lexicon_->node(node).first; child < end; ++child)
        if (lexicon_->token(child) == phone) next = child;
      if (next == kNone) return kNone;
      node = next;
    }
    return node;
  }

  void graft_all(const std::vector<Sound>& sounds,
                 const std::unordered_map<uint32_t, double>& boosts) {
    std::map<std::vector<uint8_t>, std::unordered_set<uint32_t>> found;
    for (const auto& sound : sounds) {
      found[sound.phones].insert(sound.word);
      for (uint8_t phone : sound.phones) phones_ = std::max<uint32_t>(phones_, phone);
    }
    Ways ways;
    for (const auto& [phones, more] : found) {
      std::unordered_set<uint32_t> words(more);
      uint32_t there = walk(phones);
      if (there != kNone)
        for (uint32_t word : lexicon_->labels(there)) words.insert(word);
      std::vector<std::pair<uint32_t, double>> scored;
      for (uint32_t word : words) {
        auto boost = boosts.find(word);
        scored.emplace_back(word, chance(word) + (boost == boosts.end() ? 0.0 : boost->second));
      }
      std::sort(scored.begin(), scored.end(), [&](const auto& a, const auto& b) {
        bool a_old = !more.count(a.first), b_old = !more.count(b.first);
        if (a_old != b_old) return b_old;
        if (a.second != b.second) return a.second > b.second;
        return a.first < b.first;
      });
      if (scored.size() > kHomophones) scored.resize(kHomophones);
      auto& kept = ways[phones];
      for (const auto& [word, score] : scored) kept.emplace_back(word, float(score));
    }
    root_ = graft(0, 0, ways.begin(), ways.end(), 0);
  }

  // Makes a node for `node` of the file (kNone for none) with other words at the ends of the ways, which
  // are sorted and share their first `depth` phones; returns its id.
  uint32_t graft(uint32_t node, uint8_t token, Ways::const_iterator begin, Ways::const_iterator end,
                 size_t depth) {
    HotNode made;
    made.token = token;
    std::map<uint8_t, uint32_t> children;
    std::vector<float> scores;
    if (node != kNone) {
      uint32_t last = lexicon_->node(node + 1).first;
      for (uint32_t child = lexicon_->node(node).first; child < last; ++child)
        children[lexicon_->token(child)] = child;
    }
    if (begin != end && begin->first.size() == depth) {
      for (const auto& [word, score] : begin->second) {
        made.labels.push_back(word);
        scores.push_back(score);
      }
      ++begin;
    } else if (node != kNone) {
      for (uint32_t word : lexicon_->labels(node)) {
        made.labels.push_back(word);
        scores.push_back(float(chance(word)));
      }
    }
    while (begin != end) {
      uint8_t phone = begin->first[depth];
      auto after = begin;
      while (after != end && after->first[depth] == phone) ++after;
      auto there = children.find(phone);
      uint32_t old = there == children.end() ? kNone : there->second;
      children[phone] = graft(old, phone, begin, after, depth + 1);
      begin = after;
    }
    double own = -INFINITY;  // as flashlight's Trie.smear adds the words of a node
    for (float score : scores) own = own == -INFINITY ? score : log_add(own, score);
    made.max = float(own);
    for (const auto& [phone, child] : children) {
      made.children.push_back(child);
      made.max = std::max(made.max, max(child));
    }
    hot_nodes_.push_back(std::move(made));
    return lexicon_->nodes() + uint32_t(hot_nodes_.size()) - 1;
  }

  std::shared_ptr<void> owner_;
  NGram ngram_;
  std::shared_ptr<const Lexicon> lexicon_;
  uint32_t root_ = 0, phones_ = 0;
  std::vector<uint32_t> root_children_;
  std::vector<HotNode> hot_nodes_;
  std::vector<HotWord> hot_words_;
  ContextGraph context_;
};

}  // namespace rivulet
