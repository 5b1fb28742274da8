// What Python sees: Graph, shared by all streams, and Search, one for each stream.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>

#include "graph.hpp"
#include "search.hpp"

namespace py = pybind11;
using namespace pybind11::literals;

namespace {

using rivulet::Graph;
using rivulet::Search;
using rivulet::Settings;
using Rows = py::array_t<float, py::array::c_style | py::array::forcecast>;

std::shared_ptr<Graph> open_graph(const py::buffer& bytes) {
  // the buffer is held, and so an mmap cannot be closed, until the last stream has gone
  auto held = std::shared_ptr<py::buffer_info>(new py::buffer_info(bytes.request()),
                                               [](py::buffer_info* info) {
                                                 py::gil_scoped_acquire gil;
                                                 delete info;
                                               });
  return std::make_shared<Graph>(static_cast<const uint8_t*>(held->ptr),
                                 size_t(held->size * held->itemsize), held);
}

std::shared_ptr<Graph> with_hot_words(
    const Graph& graph, const std::vector<std::pair<std::string, std::vector<uint16_t>>>& words,
    const std::vector<std::pair<std::vector<uint32_t>, double>>& phrases,
    const std::vector<std::pair<uint32_t, std::vector<uint8_t>>>& sounds,
    const std::unordered_map<uint32_t, double>& boosts) {
  std::vector<rivulet::HotWord> new_words;
  for (const auto& [text, pieces] : words) new_words.push_back({text, pieces});
  uint32_t known = graph.lexicon().words() + uint32_t(words.size());
  for (const auto& [ids, boost] : phrases)
    for (uint32_t id : ids)
      if (id >= known) throw py::index_error("a phrase holds a word that is not there.");
  std::vector<rivulet::Sound> given;
  for (const auto& [word, phones] : sounds) {
    if (word >= known || phones.empty()) throw py::index_error("a sound has no word or no phones.");
    for (uint8_t phone : phones)
      if (phone < 1) throw py::index_error("a sound holds a phone that is not there.");
    given.push_back({word, phones});
  }
  return graph.with_hot_words(std::move(new_words), phrases, given, boosts);
}

// log10 P of each word and then of the sentence's end; ids that the file lacks are unknown words.
std::vector<float> sentence(const Graph& graph, const std::vector<uint32_t>& words) {
  const auto& ngram = graph.ngram();
  std::vector<float> scores;
  std::vector<uint32_t> latest;
  for (size_t i = 0; i <= words.size(); ++i) {
    auto contexts = ngram.contexts(latest.data(), int(latest.size()));
    bool end = i == words.size();
    scores.push_back(
        ngram.log10_prob(contexts, end ? ngram.end_mark() : ngram.target(words[i])));
    if (end) break;
    latest.insert(latest.begin(), words[i]);
    if (latest.size() >= size_t(ngram.order())) latest.pop_back();
  }
  return scores;
}

// One stream's search. Work is done without the GIL; a second thread at the same time is refused.
class Stream {
 private:
  template <class F>
  auto locked(F&& work) {
    if (busy_.exchange(true))
      throw std::runtime_error("two threads use one stream at once; give each a stream of its own.");
    struct Free {
      std::atomic<bool>& busy;
      ~Free() { busy = false; }
    } free{busy_};
    py::gil_scoped_release release;
    return work();
  }

 public:
  Stream(std::shared_ptr<Graph> graph, const py::dict& settings, const Rows& favor,
         std::vector<int> columns, const Rows& noise)
      : search_(std::move(graph), read(settings), copied(favor), std::move(columns), copied(noise)) {
  }

  void push(const Rows& rows) {
    if (rows.ndim() != 2 || rows.shape(1) < search_.columns())
      throw std::invalid_argument("log_probs must be (frames, at least " +
                                  std::to_string(search_.columns()) + " columns).");
    const float* data = rows.data();
    py::ssize_t frames = rows.shape(0), stride = rows.shape(1);
    locked([&] {
      for (py::ssize_t t = 0; t < frames; ++t) search_.push(data + t * stride);
      return 0;
    });
  }
  py::list words() {
    return listed(locked([&] { return search_.words(); }));
  }
  int settled() {
    return locked([&] { return search_.settled(); });
  }
  py::list finish_segment(bool keep_open_word) {
    return listed(locked([&] { return search_.finish_segment(keep_open_word); }));
  }
  const Search& search() const { return search_; }

 private:
  py::list listed(const std::vector<rivulet::Word>& words) const {
    py::list out;
    for (const auto& word : words)
      out.append(py::make_tuple(search_.graph().text(word.id), word.start, word.end, word.agreement,
                                word.sharpness, word.phones));
    return out;
  }

  static std::vector<float> copied(const Rows& values) {
    return std::vector<float>(values.data(), values.data() + values.size());
  }

  static Settings read(const py::dict& from) {
    Settings s{};
    s.beam_size = from["beam_size"].cast<int>();
    s.beam_tokens = from["beam_tokens"].cast<int>();
    s.beam_threshold = from["beam_threshold"].cast<double>();
    s.beam_token_threshold = from["beam_token_threshold"].cast<double>();
    s.lm_weight = from["lm_weight"].cast<double>();
    s.word_insertion_bonus = from["word_insertion_bonus"].cast<double>();
    s.subword_weight = from["subword_weight"].cast<double>();
    s.subword_bonus = from["subword_bonus"].cast<double>();
    s.reads_subwords = from["reads_subwords"].cast<bool>();
    s.first_phone = from["first_phone"].cast<int>();
    s.alternatives = from["alternatives"].cast<int>();
    s.prune_every = from["prune_every"].cast<int>();
    s.blank_skip = from["blank_skip"].cast<float>();
    s.display_bonus = from["display_bonus"].cast<double>();
    return s;
  }

  Search search_;
  std::atomic<bool> busy_{false};
};

}  // namespace

PYBIND11_MODULE(_beam, m) {
  m.doc() = "The beam search in C++; see rivulet.decoding.beam.";
  py::register_exception<rivulet::FileError>(m, "FileError", PyExc_ValueError);

  py::class_<Graph, std::shared_ptr<Graph>>(m, "Graph")
      .def(py::init(&open_graph), "packed"_a)
      .def_property_readonly("words", &Graph::words)
      .def_property_readonly("order", [](const Graph& g) { return g.ngram().order(); })
      .def_property_readonly("nodes", [](const Graph& g) { return g.lexicon().nodes(); })
      .def_property_readonly("phones", &Graph::phones)
      .def_property_readonly("has_pieces", [](const Graph& g) { return g.lexicon().has_pieces(); })
      .def("text",
           [](const Graph& g, uint32_t word) {
             if (word >= g.words()) throw py::index_error("there is no such word.");
             return g.text(word);
           })
      .def("sentence", &sentence, "words"_a)
      .def("with_hot_words", &with_hot_words, "words"_a, "phrases"_a, "sounds"_a, "boosts"_a);

  py::class_<Stream>(m, "Search")
      .def(py::init<std::shared_ptr<Graph>, const py::dict&, const Rows&, std::vector<int>,
                    const Rows&>(),
           "graph"_a, "settings"_a, "favor"_a, "columns"_a, "noise"_a)
      .def("push", &Stream::push, "log_probs"_a)
      .def("words", &Stream::words)
      .def("settled", &Stream::settled)
      .def("finish_segment", &Stream::finish_segment, "keep_open_word"_a = false)
      .def_property_readonly("frame", [](const Stream& s) { return s.search().frame(); })
      .def_property_readonly("silent", [](const Stream& s) { return s.search().silent(); })
      .def_property_readonly("alternatives",
                             [](const Stream& s) { return s.search().alternatives(); })
      .def_property_readonly("open_frames", [](const Stream& s) { return s.search().open_frames(); })
      .def_property_readonly("nbytes", [](const Stream& s) { return s.search().bytes(); });
}
