// The engine as Python sees it: weft._native. Checks what comes in; releases the interpreter's lock while it computes.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "measure.h"
#include "session.h"
#include "summary.h"

namespace nb = nanobind;

namespace weft {

namespace {

using Ids = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Any = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using PlainLine = std::tuple<std::string, std::vector<std::string>, std::vector<std::string>, std::vector<std::string>,
                             std::map<std::string, Value>>;
using PlainProgram = std::pair<std::string, std::vector<PlainLine>>;

constexpr int kMostTokens = (1 << 20) - 1; // of one call
constexpr int kMostThreads = 256;

template <class T> nb::ndarray<nb::numpy, T> array(std::vector<T>&& values, std::vector<std::size_t> shape) {
  auto* kept = new std::vector<T>(std::move(values));
  nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(kept->data(), shape.size(), shape.data(), owner);
}

std::vector<std::int32_t> list(const Ids& ids) { return {ids.data(), ids.data() + ids.shape(0)}; }

Precision precision_of(const std::string& name) {
  if (name == "float32") return Precision::float32;
  if (name == "bfloat16") return Precision::bfloat16;
  if (name == "int8") return Precision::int8;
  throw std::invalid_argument("precision " + name + " is not known; use float32, bfloat16 or int8");
}

Tensor tensor_of(const std::string& name, const std::string& kind, const Any& array) {
  const bool wide = kind == "F32";
  if (!wide && kind != "F16" && kind != "BF16") throw std::invalid_argument("weight " + name + " is of kind " + kind);
  const auto wanted = wide ? nb::dtype<float>() : nb::dtype<std::uint16_t>();
  if (array.dtype() != wanted) throw std::invalid_argument("weight " + name + " has an array of another type than " + kind);
  Tensor tensor{kind, {}, static_cast<const std::byte*>(array.data())};
  for (std::size_t i = 0; i < array.ndim(); i++) tensor.shape.push_back(static_cast<std::int64_t>(array.shape(i)));
  tensor.size();
  return tensor;
}

void check_threads(int threads) {
  if (threads < 1 || threads > kMostThreads)
    throw std::invalid_argument(std::to_string(threads) + " threads; use 1 to " + std::to_string(kMostThreads));
}

// Lets glibc keep what is freed: it maps each array of logits anew otherwise, and every page of it faults again, which took more
// than the rules that look at them.
void keep_freed_memory() {
#if defined(__GLIBC__)
  static const bool kept = mallopt(M_MMAP_THRESHOLD, 1 << 30) && mallopt(M_TRIM_THRESHOLD, 64 << 20);
  (void)kept;
#endif
}

std::shared_ptr<Model> load(const std::vector<PlainProgram>& programs,
                            const std::map<std::string, std::pair<std::string, Any>>& weights, const std::string& precision,
                            int threads, const std::optional<std::pair<std::string, std::size_t>>& image) {
  check_threads(threads);
  keep_freed_memory();
  std::vector<std::pair<std::string, std::vector<Line>>> lines;
  for (const auto& [name, plain] : programs) {
    auto& program = lines.emplace_back(name, std::vector<Line>{}).second;
    for (const auto& [kind, buffers, names, biases, settings] : plain) program.push_back({kind, buffers, names, biases, settings});
  }
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, stored] : weights) tensors[name] = tensor_of(name, stored.first, stored.second);
  nb::gil_scoped_release release;
  auto arena = image ? std::make_unique<Arena>(std::make_unique<Mapped>(image->first), image->second) : std::make_unique<Arena>();
  return std::make_shared<Model>(lines, tensors, precision_of(precision), threads, std::move(arena));
}

using Bytes = nb::ndarray<nb::numpy, const std::uint8_t, nb::ndim<1>>;

// What a model's weights became, piece by piece; `load` takes it back from a file. The pieces keep the model alive.
std::vector<Bytes> image_of(nb::handle_t<Model> model) {
  std::vector<Bytes> pieces;
  for (const auto& piece : nb::cast<const Model&>(model).arena().taken()) pieces.emplace_back(piece.begin, std::initializer_list<std::size_t>{piece.size}, model);
  return pieces;
}

// A session that one thread at a time may use; the model's threads serve one session at a time.
class Guarded {
public:
  explicit Guarded(std::shared_ptr<Model> model) : model_(model), session_(model) {}

  void encode(const Ids& ids, const Ids& counts, const Ids& types, const std::vector<std::string>& wanted) {
    const auto tokens = list(ids), lengths = list(counts), kinds = list(types);
    check(tokens, lengths);
    if (!kinds.empty() && kinds.size() != tokens.size()) throw std::invalid_argument("a type for each token is needed");
    if (!model_->has("encoder")) throw std::invalid_argument("the model has no encoder");
    locked([&] {
      watch(wanted);
      session_.encode(tokens, lengths, kinds);
    });
  }
  Memory remember() {
    Memory memory;
    locked([&] { memory = session_.remember(); });
    return memory;
  }
  void start(int sources, const Memory* memory) {
    check(sources, memory);
    locked([&] { session_.start(sources, memory); });
  }
  void join(int sources, const Memory* memory) {
    check(sources, memory);
    locked([&] { session_.join(sources, memory); });
  }
  void choose(const Ids& tokens) {
    hidden_buffer();
    const auto chosen = list(tokens);
    locked([&] { session_.choose(chosen); });
  }
  void limit(const std::vector<std::vector<std::int32_t>>& lists) {
    output();
    for (const auto& list : lists)
      if (list.empty()) throw std::invalid_argument("a shortlist of no tokens");
    locked([&] { session_.limit(lists); });
  }
  void spread(int copies) {
    if (copies < 1 || copies > kMostTokens) throw std::invalid_argument(std::to_string(copies) + " copies");
    locked([&] { session_.spread(copies); });
  }
  void feed(const Ids& ids, const Ids& counts, bool whole, const std::vector<std::string>& wanted) {
    const auto tokens = list(ids), lengths = list(counts);
    check(tokens, lengths);
    locked([&] {
      watch(wanted);
      session_.feed(tokens, lengths, whole);
    });
  }
  void gather(const Ids& rows) {
    const auto chosen = list(rows);
    locked([&] { session_.gather(chosen); });
  }
  void drop(int count) {
    locked([&] { session_.drop(count); });
  }
  nb::ndarray<nb::numpy, float> hidden() {
    std::vector<float> rows;
    const std::size_t width = model_->widths()[hidden_buffer()];
    locked([&] { rows = session_.hidden(); });
    const std::size_t count = rows.size() / width;
    return array(std::move(rows), {count, width});
  }
  void put(const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& rows) {
    if (rows.shape(1) != static_cast<std::size_t>(model_->widths()[hidden_buffer()]))
      throw std::invalid_argument("rows of width " + std::to_string(rows.shape(1)));
    if (rows.shape(0) > static_cast<std::size_t>(kMostTokens)) throw std::invalid_argument(std::to_string(rows.shape(0)) + " rows");
    locked([&] { session_.put(rows.data(), static_cast<int>(rows.shape(0))); });
  }
  nb::ndarray<nb::numpy, float> logits() {
    output();
    std::vector<float> values;
    const std::size_t width = model_->output.matrix->outputs;
    locked([&] {
      session_.head();
      check_affordable(session_.count() * width * sizeof(float), "the logits of so many tokens");
      values.resize(session_.count() * width);
      session_.logits(values.data());
    });
    const std::size_t rows = values.size() / width;
    return array(std::move(values), {rows, width});
  }
  nb::tuple best(int k, std::vector<std::vector<std::int32_t>> banned, bool with_logits) {
    output();
    if (banned.empty()) banned.emplace_back();
    for (auto& ids : banned) {
      std::sort(ids.begin(), ids.end());
      if (!ids.empty() && ids.front() < 0) throw std::out_of_range("token id " + std::to_string(ids.front()));
    }
    std::vector<std::int64_t> ids;
    std::vector<float> log_probs, logits;
    const int most = model_->output.matrix->outputs;
    if (k < 1 || k > most) throw std::invalid_argument(std::to_string(k) + " of " + std::to_string(most) + " tokens");
    locked([&] {
      session_.head();
      ids.resize(static_cast<std::size_t>(session_.count()) * k);
      log_probs.resize(ids.size());
      if (with_logits) {
        check_affordable(static_cast<std::size_t>(session_.count()) * most * sizeof(float), "the logits of so many tokens");
        logits.resize(static_cast<std::size_t>(session_.count()) * most);
      }
      session_.best(k, banned, ids.data(), log_probs.data(), with_logits ? logits.data() : nullptr);
    });
    const std::size_t rows = ids.size() / k, each = k, all = most;
    if (!with_logits) return nb::make_tuple(array(std::move(ids), {rows, each}), array(std::move(log_probs), {rows, each}));
    return nb::make_tuple(array(std::move(ids), {rows, each}), array(std::move(log_probs), {rows, each}),
                          array(std::move(logits), {rows, all}));
  }
  std::pair<nb::ndarray<nb::numpy, std::int64_t>, nb::ndarray<nb::numpy, float>>
  select(const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& logits, int k) {
    const std::size_t rows = logits.shape(0);
    if (rows > kMostTokens || logits.shape(1) > 1 << 24) throw std::invalid_argument("too many logits");
    if (k < 1 || k > static_cast<int>(logits.shape(1))) throw std::invalid_argument(std::to_string(k) + " tokens of a row");
    check_affordable(rows * k * 12, "the likeliest tokens of so many rows");
    std::vector<std::int64_t> ids(rows * k);
    std::vector<float> log_probs(ids.size());
    locked([&] {
      session_.select(logits.data(), static_cast<int>(rows), static_cast<int>(logits.shape(1)), k, ids.data(), log_probs.data());
    });
    return {array(std::move(ids), {rows, static_cast<std::size_t>(k)}),
            array(std::move(log_probs), {rows, static_cast<std::size_t>(k)})};
  }
  // Inspection points of what was read last, once: the values of all, and where each begins, and its shape: [tokens, 1, width], or
  // of attention [tokens, heads, 1, positions].
  std::pair<nb::ndarray<nb::numpy, float>, std::vector<std::tuple<std::string, std::size_t, std::vector<std::size_t>>>> seen() {
    std::vector<Seen> seen;
    std::vector<float> values;
    locked([&] {
      seen.swap(session_.seen);
      values.swap(session_.shown);
    });
    last_shown_ = values.size();
    std::vector<std::tuple<std::string, std::size_t, std::vector<std::size_t>>> places;
    for (auto& one : seen) places.emplace_back(std::move(one.name), one.first, std::move(one.shape));
    const std::size_t size = values.size();
    return {array(std::move(values), {size}), std::move(places)};
  }
  int rows() {
    int found = 0;
    locked([&] { found = session_.rows(); });
    return found;
  }

private:
  template <class F> void locked(F f) {
    nb::gil_scoped_release release;
    std::lock_guard own(lock_);
    std::lock_guard shared(model_->lock());
    f();
  }
  void output() const {
    if (!model_->output.matrix) throw std::invalid_argument("the model has no output layer");
  }
  int hidden_buffer() const {
    if (model_->hidden < 0) throw std::invalid_argument("the model has no hidden states");
    return model_->hidden;
  }
  void watch(const std::vector<std::string>& wanted) {
    session_.seen.clear();
    session_.shown.clear();
    if (!wanted.empty()) session_.shown.reserve(last_shown_); // often the same again
    session_.wanted = wanted;
  }
  void check(int sources, const Memory* memory) const {
    if (!model_->has("decoder")) throw std::invalid_argument("the model has no decoder");
    if (sources < 0 || sources > kMostTokens) throw std::invalid_argument(std::to_string(sources) + " sources");
    if (model_->has("memory") != (memory != nullptr)) throw std::invalid_argument("a memory is for encoder-decoders, and needed there");
  }
  static void check(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& counts) {
    std::int64_t total = 0;
    for (const auto count : counts) {
      if (count < 0) throw std::invalid_argument("a text of " + std::to_string(count) + " tokens");
      total += count;
    }
    if (total != static_cast<std::int64_t>(ids.size()))
      throw std::invalid_argument(std::to_string(ids.size()) + " tokens, but counts of " + std::to_string(total));
    if (total > kMostTokens) throw std::invalid_argument(std::to_string(total) + " tokens at once; at most " + std::to_string(kMostTokens));
  }

  std::shared_ptr<Model> model_;
  Session session_;
  std::mutex lock_;
  std::size_t last_shown_ = 0;
};

using PlainPasses = std::pair<double, std::vector<double>>;

void check_seconds(double seconds) {
  if (!(seconds >= 0 && seconds <= 3600)) throw std::invalid_argument(std::to_string(seconds) + " seconds; use 0 to 3600");
}

PlainPasses read_speed(std::size_t bytes, int threads, double seconds) {
  check_threads(threads);
  check_seconds(seconds);
  check_affordable(bytes, "reading so much");
  nb::gil_scoped_release release;
  Passes passes = read_passes(bytes, threads, seconds);
  return {passes.each, std::move(passes.seconds)};
}

PlainPasses product_speed(const std::string& precision, int threads, double seconds) {
  check_threads(threads);
  check_seconds(seconds);
  const Precision chosen = precision_of(precision);
  nb::gil_scoped_release release;
  Passes passes = product_passes(chosen, threads, seconds);
  return {passes.each, std::move(passes.seconds)};
}

// Logits [rows, columns] of the tokens nearest to each row's centre that together have `share` of the probability; -infinity for
// others. log_sums, centres: [rows].
nb::ndarray<nb::numpy, float> nearest(const nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>& logits,
                                      const nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>& log_sums,
                                      const nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>& centres, float share) {
  const std::size_t rows = logits.shape(0), columns = logits.shape(1);
  if (log_sums.shape(0) != rows || centres.shape(0) != rows) throw std::invalid_argument("a sum and a centre for each row are needed");
  if (columns > 1 << 24) throw std::invalid_argument(std::to_string(columns) + " columns");
  check_affordable(rows * columns * sizeof(float), "the logits of so many rows");
  std::vector<float> kept(rows * columns);
  {
    nb::gil_scoped_release release;
    static const Kernels& kernels = choose_kernels();
    const auto wide = padded(static_cast<int>(columns));
    std::vector<float> distances(wide), weights(wide);
    for (std::size_t row = 0; row < rows; row++)
      kernels.nearest(logits.data() + row * columns, static_cast<int>(columns), log_sums.data()[row], centres.data()[row], share,
                      distances.data(), weights.data(), kept.data() + row * columns);
  }
  return array(std::move(kept), {rows, columns});
}

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Numbers = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// What a step's stages made of the model's scores [rows, columns]: ids that are banned, and `processed`, of the same shape each.
// Candidates [rows, C], scores [stages, rows, C], totals [3, stages, rows] (Summary). tokens: chosen of rows.
nb::tuple summary(const Rows& model, std::vector<std::int32_t> banned, const std::vector<Rows>& processed, int k,
                  const Numbers& of_rows, const Numbers& tokens) {
  const std::size_t rows = model.shape(0), columns = model.shape(1);
  if (columns < 1 || columns > 1 << 24) throw std::invalid_argument(std::to_string(columns) + " columns");
  if (k < 1 || of_rows.shape(0) != tokens.shape(0)) throw std::invalid_argument("one candidate or more, and a row for each token");
  std::sort(banned.begin(), banned.end());
  banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
  if (!banned.empty() && (banned.front() < 0 || banned.back() >= static_cast<std::int64_t>(columns)))
    throw std::out_of_range("token ids from " + std::to_string(banned.front()) + " to " + std::to_string(banned.back()));
  Stages stages{model.data(), std::move(banned), {}, rows, columns};
  for (const Rows& stage : processed) {
    if (stage.shape(0) != rows || stage.shape(1) != columns) throw std::invalid_argument("stages of other shapes");
    stages.processed.push_back(stage.data());
  }
  std::vector<std::vector<std::int64_t>> chosen(rows);
  for (std::size_t i = 0; i < tokens.shape(0); i++) {
    const std::int64_t row = of_rows.data()[i], token = tokens.data()[i];
    if (row < 0 || row >= static_cast<std::int64_t>(rows) || token < 0 || token >= static_cast<std::int64_t>(columns))
      throw std::out_of_range("token " + std::to_string(token) + " of row " + std::to_string(row));
    chosen[row].push_back(token);
  }
  k = std::min(k, static_cast<int>(columns));
  const std::size_t count = stages.count();
  check_affordable((2 * k + tokens.shape(0)) * 12 * rows * count, "the candidates of so many rows");
  Summary found;
  {
    nb::gil_scoped_release release;
    static const Kernels& kernels = choose_kernels();
    found = summarise(kernels, stages, k, chosen);
  }
  const std::size_t width = found.width;
  return nb::make_tuple(array(std::move(found.candidates), {rows, width}), array(std::move(found.scores), {count, rows, width}),
                        array(std::move(found.totals), {3, count, rows}));
}

std::vector<std::pair<std::string, std::string>> describe(const Model& model) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const auto& [name, program] : model.programs())
    for (const auto& operation : program) lines.emplace_back(name, operation->describe());
  return lines;
}

} // namespace

} // namespace weft

NB_MODULE(_native, m) {
  using namespace weft;
  nb::set_leak_warnings(false); // a model that lives until Python ends is no leak
  nb::class_<Model>(m, "Model")
      .def("describe", &describe)
      .def_prop_ro("isa", [](const Model& model) { return std::string(model.kernels().name); })
      .def_prop_ro("threads", [](const Model& model) { return model.pool().threads(); })
      .def_prop_ro("bytes", &Model::bytes)
      .def("image", &image_of);
  m.def("isa", [] { return std::string(choose_kernels().name); });
  m.def("load", &load, nb::arg("programs"), nb::arg("weights"), nb::arg("precision"), nb::arg("threads"),
        nb::arg("image") = nb::none());
  m.def("read_speed", &read_speed, nb::arg("bytes"), nb::arg("threads"), nb::arg("seconds"));
  m.def("product_speed", &product_speed, nb::arg("precision"), nb::arg("threads"), nb::arg("seconds"));
  m.def("nearest", &nearest, nb::arg("logits").noconvert(), nb::arg("log_sums").noconvert(), nb::arg("centres").noconvert(),
        nb::arg("share"));
  m.def("summary", &summary, nb::arg("model").noconvert(), nb::arg("banned"), nb::arg("processed"), nb::arg("k"),
        nb::arg("rows").noconvert(), nb::arg("tokens").noconvert());
  nb::class_<Memory>(m, "Memory")
      .def("__len__", [](const Memory& memory) { return memory.sources.size(); })
      .def("add", &Memory::add, nb::arg("more"));
  const auto as_it_is = [](const char* name) { return nb::arg(name).noconvert(); }; // ids of another type would be cut off
  nb::class_<Guarded>(m, "Session")
      .def(nb::init<std::shared_ptr<Model>>())
      .def("encode", &Guarded::encode, as_it_is("ids"), as_it_is("counts"), as_it_is("types"), nb::arg("wanted"))
      .def("remember", &Guarded::remember)
      .def("start", &Guarded::start, nb::arg("sources"), nb::arg("memory").none())
      .def("join", &Guarded::join, nb::arg("sources"), nb::arg("memory").none())
      .def("choose", &Guarded::choose, as_it_is("tokens"))
      .def("limit", &Guarded::limit, nb::arg("lists"))
      .def("spread", &Guarded::spread, nb::arg("copies"))
      .def("feed", &Guarded::feed, as_it_is("ids"), as_it_is("counts"), nb::arg("whole"), nb::arg("wanted"))
      .def("gather", &Guarded::gather, as_it_is("rows"))
      .def("drop", &Guarded::drop, nb::arg("count"))
      .def("hidden", &Guarded::hidden)
      .def("put", &Guarded::put, as_it_is("rows"))
      .def("logits", &Guarded::logits)
      .def("best", &Guarded::best, nb::arg("k"), nb::arg("banned"), nb::arg("with_logits") = false)
      .def("select", &Guarded::select, as_it_is("logits"), nb::arg("k"))
      .def("rows", &Guarded::rows)
      .def("seen", &Guarded::seen);
}
