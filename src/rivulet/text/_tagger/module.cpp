// The tagger's step with weights of 8 bits, as its file has them: a quarter of the bytes to read for each word.
// A vector is rounded to as many levels as 32-bit sums allow, so every machine adds up the same whole numbers.
// The equations are those of rivulet.text.tagger.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace py = pybind11;
using namespace pybind11::literals;

namespace {

constexpr int LAYERS = 2, TABLES = 5, LARGEST_WEIGHT = 127;
using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<int8_t, py::array::c_style>;
using Rows = std::array<uint32_t, TABLES>;

// Where compiler and system can choose at run time, wider instructions add up the same whole numbers.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_MACHINE __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_MACHINE
#endif

FOR_EACH_MACHINE int32_t dot(const int8_t* row, const int16_t* x, int columns) {
  int32_t sum = 0;
  for (int c = 0; c < columns; ++c) sum += int32_t(int16_t(row[c])) * int32_t(x[c]);
  return sum;
}

[[noreturn]] void misfit() { throw std::invalid_argument("shapes of weights do not fit"); }

std::vector<float> copied(const Floats& values) {
  return std::vector<float>(values.data(), values.data() + values.size());
}

// whole (rows, columns), each row with its scale.
class Matrix {
 public:
  Matrix(const Bytes& whole, const Floats& scale, int columns) : scale_(copied(scale)) {
    if (whole.ndim() != 2 || columns < 1 || whole.shape(1) != columns ||
        scale_.size() != size_t(whole.shape(0)))
      misfit();
    columns_ = columns;
    whole_.assign(whole.data(), whole.data() + whole.size());
    levels_ = std::min(INT16_MAX, INT32_MAX / (LARGEST_WEIGHT + 1) / columns);
    if (levels_ < 1) misfit();
  }
  int rows() const { return int(scale_.size()); }

  // out[r] = whole[r] · x * scale[r] + bias[r]
  void apply(const float* x, const float* bias, float* out) const {
    std::vector<int16_t> rounded(columns_);
    float step = round_to_levels(x, rounded.data());
    for (int r = 0; r < rows(); ++r)
      out[r] = float(dot(&whole_[size_t(r) * columns_], rounded.data(), columns_)) * (scale_[r] * step) +
               bias[r];
  }

 private:
  float round_to_levels(const float* x, int16_t* rounded) const {
    float largest = 0;
    for (int c = 0; c < columns_; ++c) largest = std::max(largest, std::fabs(x[c]));
    float step = largest / float(levels_);
    if (!(step > 0)) return 0;  // all zeros stay in `rounded`
    for (int c = 0; c < columns_; ++c) rounded[c] = int16_t(x[c] / step + std::copysign(0.5f, x[c]));
    return step;
  }

  std::vector<int8_t> whole_;
  std::vector<float> scale_;
  int columns_, levels_;
};

// torch.nn.GRU's equations and order of gates: reset, update, new.
struct Layer {
  Matrix input, recurrent;
  std::vector<float> input_bias, recurrent_bias;

  void step(const float* x, const float* before, float* after) const {
    size_t size = recurrent_bias.size() / 3;
    std::vector<float> from_x(3 * size), from_h(3 * size);
    input.apply(x, input_bias.data(), from_x.data());
    recurrent.apply(before, recurrent_bias.data(), from_h.data());
    for (size_t i = 0; i < size; ++i) {
      float reset = sigmoid(from_x[i] + from_h[i]);
      float update = sigmoid(from_x[size + i] + from_h[size + i]);
      float fresh = std::tanh(from_x[2 * size + i] + reset * from_h[2 * size + i]);
      after[i] = fresh + update * (before[i] - fresh);
    }
  }
  static float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }
};

class Tagger {
 public:
  using Pair = std::pair<Bytes, Floats>;  // a matrix's whole numbers and scales

  Tagger(const std::array<Floats, TABLES>& tables, const std::vector<std::array<Pair, 2>>& matrices,
         const std::vector<std::array<Floats, 2>>& biases, const std::array<Pair, 3>& head,
         const std::array<Floats, 2>& head_biases)
      : width_(width_of(tables[0])),
        window_(made(head[0], int(head[0].first.ndim() == 2 ? head[0].first.shape(1) : 0))),
        memory_(made(head[1], hidden_of(biases))),
        out_(made(head[2], hidden_of(biases) + window_.rows())),
        window_bias_(copied(head_biases[0])),
        out_bias_(copied(head_biases[1])) {
    if (matrices.size() != LAYERS || biases.size() != LAYERS) misfit();
    for (const auto& table : tables) {
      if (width_of(table) != width_) misfit();
      tables_.push_back(copied(table));
    }
    hidden_ = hidden_of(biases);
    for (int i = 0; i < LAYERS; ++i) {
      Layer layer{made(matrices[i][0], i == 0 ? width_ : hidden_), made(matrices[i][1], hidden_),
                  copied(biases[i][0]), copied(biases[i][1])};
      size_t gates = size_t(3 * hidden_);
      if (layer.input.rows() != 3 * hidden_ || layer.recurrent.rows() != 3 * hidden_ ||
          layer.input_bias.size() != gates || layer.recurrent_bias.size() != gates)
        misfit();
      layers_.push_back(std::move(layer));
    }
    words_ = int(head[0].first.shape(1)) / width_;
    if (words_ < 1 || words_ * width_ != head[0].first.shape(1) || memory_.rows() != window_.rows() ||
        window_bias_.size() != size_t(window_.rows()) || out_bias_.size() != size_t(out_.rows()))
      misfit();
  }

  py::tuple step(const Rows& rows, const Floats& first, const Floats& second,
                 const Floats& recent) const {
    if (first.size() != hidden_ || second.size() != hidden_ ||
        recent.size() != (words_ - 1) * width_)
      throw std::invalid_argument("this is not a state of this tagger.");
    std::vector<float> words = copied(recent);
    words.resize(size_t(words_) * width_);
    embed(rows, &words[size_t(words_ - 1) * width_]);
    Floats new_first(hidden_), new_second(hidden_), scores(out_.rows());
    Floats new_recent({words_ - 1, width_});
    layers_[0].step(&words[size_t(words_ - 1) * width_], first.data(), new_first.mutable_data());
    layers_[1].step(new_first.data(), second.data(), new_second.mutable_data());
    std::vector<float> top(new_second.data(), new_second.data() + hidden_);
    beside(words.data(), new_second.data(), top);
    out_.apply(top.data(), out_bias_.data(), scores.mutable_data());
    std::copy(words.begin() + width_, words.end(), new_recent.mutable_data());
    return py::make_tuple(scores, new_first, new_second, new_recent);
  }

 private:
  static int width_of(const Floats& table) {
    if (table.ndim() != 2 || table.shape(0) < 1 || table.shape(1) < 1) misfit();
    return int(table.shape(1));
  }
  static int hidden_of(const std::vector<std::array<Floats, 2>>& biases) {
    if (biases.empty() || biases[0][0].size() < 3) misfit();
    return int(biases[0][0].size() / 3);
  }
  static Matrix made(const Pair& stored, int columns) {
    return Matrix(stored.first, stored.second, columns);
  }

  void embed(const Rows& rows, float* word) const {
    for (int i = 0; i < TABLES; ++i) {
      if (rows[i] >= tables_[i].size() / width_)
        throw py::index_error("a table of the tagger has no such row.");
      for (int c = 0; c < width_; ++c) word[c] += tables_[i][size_t(rows[i]) * width_ + c];
    }
  }
  // The hidden layer that sees words as they are; appended to the GRU's output.
  void beside(const float* words, const float* hidden, std::vector<float>& top) const {
    std::vector<float> seen(window_.rows()), sum(window_.rows());
    window_.apply(words, window_bias_.data(), seen.data());
    memory_.apply(hidden, seen.data(), sum.data());
    for (float value : sum) top.push_back(std::max(value, 0.0f));
  }

  int width_, hidden_ = 0, words_ = 0;
  std::vector<std::vector<float>> tables_;
  std::vector<Layer> layers_;
  Matrix window_, memory_, out_;
  std::vector<float> window_bias_, out_bias_;
};

}  // namespace

PYBIND11_MODULE(_tagger, m) {
  m.doc() = "The tagger's step in C++; see rivulet.text.tagger.";
  py::class_<Tagger>(m, "Tagger")
      .def(py::init<const std::array<Floats, TABLES>&, const std::vector<std::array<Tagger::Pair, 2>>&,
                    const std::vector<std::array<Floats, 2>>&, const std::array<Tagger::Pair, 3>&,
                    const std::array<Floats, 2>&>(),
           "tables"_a, "matrices"_a, "biases"_a, "head"_a, "head_biases"_a)
      .def("step", &Tagger::step, "rows"_a, "first"_a, "second"_a, "recent"_a);
}
