// The operations that programs are made of, and how a line of Python becomes one. To add one: a struct and a row of kBuilders.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>

#include "session.h"

namespace weft {

namespace {

std::string named(const char* what, const Matrix& m) {
  const char* precision = m.precision == Precision::int8 ? "int8" : m.precision == Precision::bfloat16 ? "bfloat16" : "float32";
  return std::string(what) + " [" + std::to_string(m.outputs) + ", " + std::to_string(m.inputs) + "] " + precision;
}

// Takes the settings of a line; what nobody took is an error.
class Settings {
public:
  explicit Settings(const Line& line) : line_(line) {}

  std::int64_t integer(const std::string& name, std::int64_t least, std::int64_t most) {
    const auto* value = std::get_if<std::int64_t>(&take(name));
    if (!value || *value < least || *value > most)
      throw std::invalid_argument("setting " + name + " must be a whole number from " + std::to_string(least) + " to " +
                                  std::to_string(most));
    return *value;
  }
  float number(const std::string& name) {
    const Value& value = take(name);
    const auto* whole = std::get_if<std::int64_t>(&value);
    const auto* real = std::get_if<double>(&value);
    if (!whole && !real) throw std::invalid_argument("setting " + name + " must be a number");
    return whole ? static_cast<float>(*whole) : static_cast<float>(*real);
  }
  std::string word(const std::string& name) {
    const auto* value = std::get_if<std::string>(&take(name));
    if (!value) throw std::invalid_argument("setting " + name + " must be a word");
    return *value;
  }
  void done() const {
    for (const auto& [name, value] : line_.settings)
      if (!taken_.count(name)) throw std::invalid_argument("setting " + name + " is not known");
  }

private:
  const Value& take(const std::string& name) {
    taken_[name] = true;
    const auto found = line_.settings.find(name);
    if (found == line_.settings.end()) throw std::invalid_argument("setting " + name + " is missing");
    return found->second;
  }
  const Line& line_;
  std::map<std::string, bool> taken_;
};

void expect(const Line& line, std::size_t buffers, std::size_t least, std::size_t most, bool biases = false) {
  if (line.buffers.size() != buffers)
    throw std::invalid_argument(std::to_string(line.buffers.size()) + " buffers instead of " + std::to_string(buffers));
  if (line.weights.size() < least || line.weights.size() > most)
    throw std::invalid_argument(std::to_string(line.weights.size()) + " weights");
  if (!biases && !line.biases.empty()) throw std::invalid_argument("it takes no biases");
}

// The place of a word among those that may stand there.
std::size_t choice(const std::string& word, const std::vector<std::string>& words) {
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) throw std::invalid_argument(word + " is not known");
  return found - words.begin();
}

Activation activation_of(const std::string& name) {
  static const std::map<std::string, Activation> kNames = {
      {"none", Activation::none}, {"relu", Activation::relu},         {"gelu", Activation::gelu},
      {"tanh", Activation::tanh}, {"gelu_tanh", Activation::gelu_tanh}, {"silu", Activation::silu}};
  const auto found = kNames.find(name);
  if (found == kNames.end()) throw std::invalid_argument("activation " + name + " is not known");
  return found->second;
}

// ---------------------------------------------------------------- embeddings

struct Embed : Operation {
  const Matrix* table;
  int out;
  float factor;
  void run(Session& s) const override {
    s.each(table->inputs, [&](int row) {
      s.kernels().unpack(*table, s.tokens().ids[row], factor, s.buffer(out) + row * s.stride(out));
    });
  }
  std::string describe() const override { return named("embed", *table); }
};

std::unique_ptr<Operation> embed(Model& model, const Line& line, Settings& settings) {
  expect(line, 1, 1, 1);
  auto op = std::make_unique<Embed>();
  op->table = &model.matrix(line.weights, {});
  op->out = model.writes(line.buffers[0], op->table->inputs);
  op->factor = settings.number("scale");
  model.reach().ids = std::min(model.reach().ids, op->table->outputs);
  return op;
}

// Adds the row of a table that a token's position or type names.
struct AddRows : Operation {
  const float* table;
  int rows, width, out, offset;
  bool by_type;
  void run(Session& s) const override {
    const auto& which = by_type ? s.tokens().types : s.tokens().positions;
    for (int row = 0; row < s.count(); row++)
      s.kernels().add(table + static_cast<std::ptrdiff_t>(which[row] + offset) * width, width, s.buffer(out) + row * s.stride(out));
  }
  std::string describe() const override { return "add_rows [" + std::to_string(rows) + ", " + std::to_string(width) + "]"; }
};

std::unique_ptr<Operation> add_rows(Model& model, const Line& line, Settings& settings) {
  expect(line, 1, 1, 1);
  auto op = std::make_unique<AddRows>();
  const Tensor& tensor = model.tensor(line.weights[0]);
  op->out = model.reads(line.buffers[0]);
  op->width = model.widths()[op->out];
  if (tensor.shape.size() != 2 || tensor.columns() != op->width) throw std::invalid_argument("a table of another width");
  op->table = model.dense(line.weights[0], -1);
  op->rows = static_cast<int>(tensor.rows());
  op->offset = static_cast<int>(settings.integer("offset", 0, 1 << 20));
  if (op->rows <= op->offset)
    throw std::invalid_argument("a table of " + std::to_string(op->rows) + " rows, but an offset of " + std::to_string(op->offset));
  op->by_type = settings.integer("by_type", 0, 1);
  if (op->by_type && model.building() != "encoder") throw std::invalid_argument("only an encoder's tokens are of types");
  int& most = op->by_type ? model.reach().types : model.reach().positions;
  most = std::min(most, op->rows - op->offset);
  return op;
}

// ---------------------------------------------------------------- rows

// Over the whole row, or over `groups` parts of `width` from `start` on (heads).
struct Norm : Operation {
  const float *weight, *bias;
  int in, out, start, groups, width;
  float epsilon, offset;
  bool rms;
  void run(Session& s) const override {
    s.each(static_cast<std::ptrdiff_t>(groups) * width, [&](int row) {
      for (int g = 0; g < groups; g++) {
        const float* x = s.buffer(in) + row * s.stride(in) + start + g * width;
        float* y = s.buffer(out) + row * s.stride(out) + start + g * width;
        if (rms) s.kernels().rms_norm(x, width, weight, offset, epsilon, y);
        else s.kernels().layer_norm(x, width, weight, bias, epsilon, y);
      }
    });
  }
  std::string describe() const override { return (rms ? "rms_norm [" : "layer_norm [") + std::to_string(width) + "]"; }
};

std::unique_ptr<Operation> norm(Model& model, const Line& line, Settings& settings) {
  expect(line, 2, 1, 2);
  auto op = std::make_unique<Norm>();
  op->in = model.reads(line.buffers[0]);
  const int width = model.widths()[op->in];
  op->out = model.writes(line.buffers[1], width);
  op->start = static_cast<int>(settings.integer("start", 0, width));
  op->groups = static_cast<int>(settings.integer("groups", 1, width));
  op->width = static_cast<int>(settings.integer("size", 1, width));
  if (op->start + static_cast<std::int64_t>(op->groups) * op->width > width) throw std::invalid_argument("it reaches past its buffer");
  op->weight = model.dense(line.weights[0], op->width);
  op->bias = line.weights.size() > 1 ? model.dense(line.weights[1], op->width) : nullptr;
  op->epsilon = settings.number("epsilon");
  op->offset = settings.number("offset");
  op->rms = choice(settings.word("norm"), {"layer", "rms"}) == 1;
  return op;
}

struct Linear : Operation {
  const Matrix* matrix;
  int in, out;
  Activation activation;
  bool residual;
  void run(Session& s) const override { s.multiply(*matrix, in, out, activation, residual); }
  std::string describe() const override { return named("linear", *matrix); }
};

std::unique_ptr<Operation> linear(Model& model, const Line& line, Settings& settings) {
  expect(line, 2, 1, 8, true);
  auto op = std::make_unique<Linear>();
  op->matrix = &model.matrix(line.weights, line.biases);
  op->in = model.reads(line.buffers[0], op->matrix->inputs);
  op->activation = activation_of(settings.word("activation"));
  op->residual = settings.integer("residual", 0, 1);
  if (op->residual) model.reads(line.buffers[1]);
  op->out = model.writes(line.buffers[1], op->matrix->outputs);
  if (op->in == op->out) throw std::invalid_argument("it cannot write what it reads");
  return op;
}

// in: [up | gate] -> activation(gate) * up.
struct Gate : Operation {
  int in, out, width;
  Activation activation;
  void run(Session& s) const override {
    s.each(4 * width, [&](int row) {
      const float* x = s.buffer(in) + row * s.stride(in);
      s.kernels().gate(activation, x + width, x, s.buffer(out) + row * s.stride(out), width);
    });
  }
  std::string describe() const override { return "gate [" + std::to_string(width) + "]"; }
};

std::unique_ptr<Operation> gate(Model& model, const Line& line, Settings& settings) {
  expect(line, 2, 0, 0);
  auto op = std::make_unique<Gate>();
  op->in = model.reads(line.buffers[0]);
  const int twice = model.widths()[op->in];
  if (twice % 2) throw std::invalid_argument("an odd width");
  op->width = twice / 2;
  op->out = model.writes(line.buffers[1], op->width);
  op->activation = activation_of(settings.word("activation"));
  return op;
}

struct Scale : Operation {
  int in, out, width;
  float factor;
  void run(Session& s) const override {
    s.each(width, [&](int row) {
      float* y = s.buffer(out) + row * s.stride(out);
      std::copy_n(s.buffer(in) + row * s.stride(in), width, y);
      s.kernels().scale(factor, y, width);
    });
  }
  std::string describe() const override { return "scale [" + std::to_string(width) + "]"; }
};

std::unique_ptr<Operation> scale(Model& model, const Line& line, Settings& settings) {
  expect(line, 2, 0, 0);
  auto op = std::make_unique<Scale>();
  op->in = model.reads(line.buffers[0]);
  op->width = model.widths()[op->in];
  op->out = model.writes(line.buffers[1], op->width);
  if (op->in == op->out) throw std::invalid_argument("it cannot write what it reads");
  op->factor = settings.number("factor");
  return op;
}

struct Add : Operation {
  int in, out, width;
  void run(Session& s) const override {
    s.each(width, [&](int row) { s.kernels().add(s.buffer(in) + row * s.stride(in), width, s.buffer(out) + row * s.stride(out)); });
  }
  std::string describe() const override { return "add [" + std::to_string(width) + "]"; }
};

std::unique_ptr<Operation> add(Model& model, const Line& line, Settings&) {
  expect(line, 2, 0, 0);
  auto op = std::make_unique<Add>();
  op->in = model.reads(line.buffers[0]);
  op->width = model.widths()[op->in];
  op->out = model.reads(line.buffers[1], op->width);
  return op;
}

// ---------------------------------------------------------------- positions inside attention

// cos and sin of rotary angles (Su et al. 2021) of every token: [cos | sin], each `half` wide.
struct Angles : Operation {
  const float *frequencies, *longs; // null: dynamic scaling; of texts longer than `original`, where theirs are others
  int out, half, dimension;
  float factor, base, stretch, original;
  void run(Session& s) const override {
    s.each(64 * half, [&](int row) {
      float* cosines = s.buffer(out) + row * s.stride(out);
      const float position = static_cast<float>(s.tokens().positions[row]);
      const float length = static_cast<float>(s.tokens().lengths[row]);
      const float ratio = stretch * std::max(length, original) / original - (stretch - 1);
      const float grown = frequencies ? 0 : base * std::pow(ratio, static_cast<float>(dimension) / (dimension - 2));
      const float* own = longs && length > original ? longs : frequencies;
      for (int i = 0; i < half; i++) {
        const float frequency = own ? own[i] : 1.0f / static_cast<float>(std::pow(static_cast<double>(grown), 2.0f * i / dimension));
        cosines[i] = std::cos(position * frequency) * factor;
        cosines[half + i] = std::sin(position * frequency) * factor;
      }
    });
  }
  std::string describe() const override { return "angles [" + std::to_string(half) + "]"; }
};

std::unique_ptr<Operation> angles(Model& model, const Line& line, Settings& settings) {
  expect(line, 1, 0, 2);
  auto op = std::make_unique<Angles>();
  op->dimension = static_cast<int>(settings.integer("dimension", 2, 1 << 16));
  op->half = op->dimension / 2;
  op->frequencies = line.weights.empty() ? nullptr : model.dense(line.weights[0], op->half);
  op->longs = line.weights.size() < 2 ? nullptr : model.dense(line.weights[1], op->half);
  op->out = model.writes(line.buffers[0], op->half * 2);
  op->factor = settings.number("factor");
  op->base = settings.number("base");
  op->stretch = settings.number("stretch");
  op->original = settings.number("original");
  return op;
}

struct Rotate : Operation {
  int x, angles, start, heads, size, half;
  void run(Session& s) const override {
    s.each(static_cast<std::ptrdiff_t>(heads) * half * 2, [&](int row) {
      const float* turn = s.buffer(angles) + row * s.stride(angles);
      float* head = s.buffer(x) + row * s.stride(x) + start;
      for (int h = 0; h < heads; h++) s.kernels().rotate(turn, turn + half, half, head + h * size);
    });
  }
  std::string describe() const override { return "rotate [" + std::to_string(heads) + ", " + std::to_string(2 * half) + "]"; }
};

std::unique_ptr<Operation> rotate(Model& model, const Line& line, Settings& settings) {
  expect(line, 2, 0, 0);
  auto op = std::make_unique<Rotate>();
  op->angles = model.reads(line.buffers[0]);
  op->x = model.reads(line.buffers[1]);
  const int width = model.widths()[op->x], turned = model.widths()[op->angles];
  if (op->angles == op->x) throw std::invalid_argument("it cannot write what it reads");
  op->half = turned / 2;
  op->start = static_cast<int>(settings.integer("start", 0, width));
  op->heads = static_cast<int>(settings.integer("heads", 1, width));
  op->size = static_cast<int>(settings.integer("size", turned, width));
  if (op->start + static_cast<std::int64_t>(op->heads) * op->size > width) throw std::invalid_argument("it reaches past its buffer");
  return op;
}

// ---------------------------------------------------------------- attention

void put(const Session& s, const Cache& cache, int slot, int layer, int head, int size, const float* keys, const float* values) {
  s.kernels().remember(cache.narrow(), keys, values, size, slot % kBlock, cache.keys(slot / kBlock, layer, head),
                       cache.values(slot / kBlock, layer, head));
}

struct Attend : Operation {
  int in, out, layer, heads, key_value_heads, size, window, bias_reach = 0;
  float factor, soft_cap, slope_scale = 1;
  bool cross, causal, rounded = false;
  const float *bias = nullptr, *slopes = nullptr;
  std::string name;

  int group() const { return heads / key_value_heads; }

  void run(Session& s) const override {
    const Feed& feed = s.tokens();
    int longest = 0;
    for (const Group& group : feed.groups) longest = std::max(longest, cache(group).blocks() * kBlock);
    const int positions = s.wants(name) ? this->positions(s) : 0;
    float* seen = positions ? s.show(name, {std::size_t(feed.count), std::size_t(heads), 1, std::size_t(positions)}) : nullptr;
    if (feed.groups.size() > static_cast<std::size_t>(std::numeric_limits<int>::max() / key_value_heads))
      throw std::length_error("too many texts for so many heads");
    const int groups = static_cast<int>(feed.groups.size());
    // A text's heads follow each other in memory, which one thread reads faster than two that take turns.
    const int heads_each = groups >= 4 * s.pool().threads() ? key_value_heads : 1, parts = key_value_heads / heads_each;
    const auto one = [&](int item, int thread) {
      attend(s, item / parts, item % parts * heads_each, heads_each, thread, seen, positions);
    };
    if (static_cast<std::ptrdiff_t>(feed.count) * longest * heads * size < 1 << 16)
      for (int group = 0; group < groups; group++) attend(s, group, 0, key_value_heads, 0, seen, positions);
    else s.pool().run(groups * parts, one);
  }

  const Cache& cache(const Group& group) const { return cross ? *group.source->cross : *group.source->own; }

  // Where the keys of a head begin, and where its values do, in each block; none: nothing.
  void find(const Session& s, int group, int head, std::vector<const std::byte*>& keys, std::vector<const std::byte*>& values) const {
    keys.clear();
    values.clear();
    if (group == static_cast<int>(s.tokens().groups.size())) return;
    const Cache& cache = this->cache(s.tokens().groups[group]);
    for (int b = 0; b < cache.blocks(); b++) {
      keys.push_back(cache.keys(b, layer, head));
      values.push_back(cache.values(b, layer, head));
    }
  }

  // Puts what is read now into the cache: row by row, as it lies in memory.
  void keep(Session& s, const Group& group, int first, int count) const {
    for (int row = group.first; row < group.first + group.count; row++)
      for (int head = first; head < first + count; head++) {
        const float* key = s.buffer(in) + row * s.stride(in) + (heads + head) * size;
        put(s, *group.source->own, s.tokens().slots[row], layer, head, size, key, key + key_value_heads * size);
      }
  }

  // `count` heads of a text, from `first`.
  void attend(Session& s, int group, int first, int count, int thread, float* seen, int positions) const {
    if (!cross) keep(s, s.tokens().groups[group], first, count);
    std::vector<const std::byte*> keys, values, later_keys, later_values;
    find(s, group, first, keys, values);
    for (int head = first; head < first + count; head++) {
      const bool last = head + 1 == key_value_heads;
      find(s, group + last, last ? 0 : head + 1, later_keys, later_values);
      attend(s, s.tokens().groups[group], head, keys, values, later_keys, thread, seen, positions);
      keys.swap(later_keys);
      values.swap(later_values);
    }
  }

  void attend(Session& s, const Group& group, int head, const std::vector<const std::byte*>& keys,
              const std::vector<const std::byte*>& values, const std::vector<const std::byte*>& later, int thread, float* seen,
              int positions) const {
    const Cache& cache = this->cache(group);
    const int blocks = cache.blocks(), slots = blocks * kBlock, first = head * this->group() * size;
    const std::size_t own = seen ? static_cast<std::size_t>(group.count) * this->group() * slots : 0;
    const std::size_t needed = attention_scratch(size, blocks);
    Attention a{};
    a.rows = group.count;
    a.group = this->group();
    a.size = size;
    a.blocks = blocks;
    a.queries = s.buffer(in) + group.first * s.stride(in) + first;
    a.query_stride = s.stride(in);
    a.positions = s.tokens().positions.data() + group.first;
    a.visible = !cross && group.hidden ? s.tokens().visible.data() + group.first : nullptr;
    a.narrow = cache.narrow();
    a.keys = keys.data();
    a.values = values.data();
    a.key_positions = cache.positions();
    a.scale = factor;
    a.soft_cap = soft_cap;
    a.causal = causal;
    a.window = window;
    a.bias = bias ? bias + static_cast<std::ptrdiff_t>(head) * this->group() * (2 * bias_reach + 1) : nullptr;
    a.bias_reach = bias_reach;
    a.slopes = slopes ? slopes + head * this->group() : nullptr;
    a.slope_scale = slope_scale;
    a.slopes_rounded = rounded;
    a.out = s.buffer(out) + group.first * s.stride(out) + first;
    a.out_stride = s.stride(out);
    a.scores = s.scratch(thread, needed + own);
    a.weights = seen ? a.scores + needed : nullptr;
    a.later = later.data();
    a.later_blocks = static_cast<int>(later.size());
    a.later_bytes = cache.shape().head();
    s.kernels().attend(a);
    if (seen) show(a, seen + (static_cast<std::size_t>(group.first) * heads + head * a.group) * positions, positions);
  }

  // Of the longest text that is looked at.
  int positions(const Session& s) const {
    int longest = 0;
    if (cross)
      for (const Group& group : s.tokens().groups) longest = std::max(longest, cache(group).count());
    else
      for (const int length : s.tokens().lengths) longest = std::max(longest, length);
    return longest;
  }

  // From slots to the positions of each row's own text. out: of the first row and head, of [rows, heads, positions].
  void show(const Attention& a, float* out, int positions) const {
    const int slots = a.blocks * kBlock;
    for (int row = 0; row < a.rows; row++, out += static_cast<std::ptrdiff_t>(heads) * positions) {
      const std::uint16_t* visible = a.visible ? a.visible[row] : nullptr;
      const float* weights = a.weights + static_cast<std::size_t>(row) * a.group * slots;
      for (int slot = 0; slot < slots; slot++) {
        const int position = a.key_positions[slot];
        if (position < 0 || (visible && !(visible[slot / kBlock] >> slot % kBlock & 1))) continue;
        for (int g = 0; g < a.group; g++) out[g * positions + position] = weights[g * slots + slot];
      }
    }
  }

  std::string describe() const override {
    return std::string(cross ? "look" : "attend") + " [" + std::to_string(heads) + ", " + std::to_string(size) + "] float32";
  }
};

// Makes room in a cache for a layer. Layers come in their order; filled: it must be there already.
void extend(const Model& model, CacheShape& shape, int layer, int heads, int size, bool filled) {
  if (shape.layers && (shape.heads != heads || shape.size != size)) throw std::invalid_argument("layers whose caches differ");
  if (layer >= shape.layers + !filled) throw std::invalid_argument("layer " + std::to_string(layer) + " of a cache of " +
                                                                   std::to_string(shape.layers));
  shape = {std::max(shape.layers, layer + 1), heads, size, model.precision() != Precision::float32};
}

std::unique_ptr<Operation> attend(Model& model, const Line& line, Settings& settings) {
  expect(line, 2, 0, 1);
  auto op = std::make_unique<Attend>();
  op->name = settings.word("name");
  const std::size_t over = choice(settings.word("over"), {"encoder", "own", "cross"});
  if ((over == 0) != (model.building() == "encoder")) throw std::invalid_argument("an encoder attends over itself alone");
  op->cross = over == 2;
  op->layer = static_cast<int>(settings.integer("layer", 0, 1 << 12));
  op->heads = static_cast<int>(settings.integer("heads", 1, 1 << 16));
  op->key_value_heads = static_cast<int>(settings.integer("key_value_heads", 1, op->heads));
  op->size = static_cast<int>(settings.integer("size", 1, 1 << 16));
  if (op->heads % op->key_value_heads) throw std::invalid_argument("heads must be a multiple of key_value_heads");
  const std::int64_t queries = std::int64_t{op->heads} * op->size, keys = std::int64_t{op->key_value_heads} * op->size;
  if (queries + 2 * keys >= 1 << 24) throw std::invalid_argument("too many heads");
  op->in = model.reads(line.buffers[0], static_cast<int>(op->cross ? queries : queries + 2 * keys));
  op->out = model.writes(line.buffers[1], static_cast<int>(queries));
  if (op->in == op->out) throw std::invalid_argument("it cannot write what it reads");
  op->factor = settings.number("scale");
  op->soft_cap = settings.number("soft_cap");
  op->causal = settings.integer("causal", 0, 1);
  op->window = static_cast<int>(settings.integer("window", 0, 1 << 30));
  const std::size_t bias = choice(settings.word("bias"), {"none", "relative", "alibi", "alibi_rounded"});
  op->slope_scale = settings.number("bias_scale");
  if (line.weights.empty() != (bias == 0)) throw std::invalid_argument("a bias needs a weight, and no bias none");
  if (bias == 1) {
    const Tensor& tensor = model.tensor(line.weights[0]);
    if (tensor.shape.size() != 2 || tensor.rows() != op->heads || tensor.columns() % 2 == 0 || tensor.columns() >= 1 << 24)
      throw std::invalid_argument("bias of another shape");
    op->bias = model.dense(line.weights[0], -1);
    op->bias_reach = static_cast<int>(tensor.columns() / 2);
  } else if (bias > 1) {
    op->slopes = model.dense(line.weights[0], op->heads);
    op->rounded = bias == 3;
  }
  if (over == 0) op->layer = 0; // its keys and values are of no use to the next layer
  CacheShape& shape = over == 0 ? model.encoder : op->cross ? model.cross : model.own;
  extend(model, shape, op->layer, op->key_value_heads, op->size, op->cross);
  return op;
}

// Puts [keys | values] of a source into the cache of a decoder's layer.
struct Remember : Operation {
  int in, layer, keys, size;
  void run(Session& s) const override {
    const auto& groups = s.tokens().groups;
    s.pool().run(static_cast<int>(groups.size()), [&](int item, int) {
      const Group& group = groups[item];
      for (int row = 0; row < group.count; row++) {
        const float* x = s.buffer(in) + (group.first + row) * s.stride(in);
        for (int head = 0; head < keys / size; head++)
          put(s, *group.source->cross, row, layer, head, size, x + head * size, x + keys + head * size);
      }
    });
  }
  std::string describe() const override { return "remember [" + std::to_string(keys) + "]"; }
};

std::unique_ptr<Operation> remember(Model& model, const Line& line, Settings& settings) {
  expect(line, 1, 0, 0);
  auto op = std::make_unique<Remember>();
  op->in = model.reads(line.buffers[0]);
  const int width = model.widths()[op->in];
  op->keys = width / 2;
  op->layer = static_cast<int>(settings.integer("layer", 0, 1 << 12));
  const int heads = static_cast<int>(settings.integer("heads", 1, 1 << 16));
  if (width % (2 * heads)) throw std::invalid_argument("keys and values of another width");
  op->size = op->keys / heads;
  extend(model, model.cross, op->layer, heads, op->size, false);
  return op;
}

// ---------------------------------------------------------------- ends

// Shows a buffer under a name, to whoever asks.
struct Tap : Operation {
  int x, width;
  std::string name;
  void run(Session& s) const override {
    if (!s.wants(name)) return;
    float* out = s.show(name, {static_cast<std::size_t>(s.count()), 1, static_cast<std::size_t>(width)});
    for (int row = 0; row < s.count(); row++)
      std::copy_n(s.buffer(x) + row * s.stride(x), width, out + static_cast<std::size_t>(row) * width);
  }
  std::string describe() const override { return "tap " + name; }
};

std::unique_ptr<Operation> tap(Model& model, const Line& line, Settings& settings) {
  expect(line, 1, 0, 0);
  auto op = std::make_unique<Tap>();
  op->x = model.reads(line.buffers[0]);
  op->width = model.widths()[op->x];
  op->name = settings.word("name");
  return op;
}

// The output layer, which the session runs as it selects (Session::pieces).
struct Logits : Operation {
  const Matrix* matrix;
  void run(Session&) const override {}
  std::string describe() const override { return named("output", *matrix); }
};

std::unique_ptr<Operation> output(Model& model, const Line& line, Settings& settings) {
  expect(line, 1, 1, 1, true);
  if (model.output.matrix) throw std::invalid_argument("it comes twice");
  model.output.matrix = &model.matrix(line.weights, line.biases, settings.integer("wide", 0, 1));
  model.output.input = model.reads(line.buffers[0], model.output.matrix->inputs);
  model.output.soft_cap = settings.number("soft_cap");
  auto op = std::make_unique<Logits>();
  op->matrix = model.output.matrix;
  return op;
}

// Names the buffer of hidden states.
std::unique_ptr<Operation> hidden(Model& model, const Line& line, Settings&) {
  expect(line, 1, 0, 0);
  model.hides(model.reads(line.buffers[0]));
  return nullptr;
}

struct Builder {
  std::unique_ptr<Operation> (*make)(Model&, const Line&, Settings&);
  std::set<std::string> programs; // that it may stand in; empty: all
};
const std::set<std::string> kReaders = {"encoder", "decoder"}; // of tokens
const std::map<std::string, Builder> kBuilders = {
    {"embed", {embed, kReaders}}, {"add_rows", {add_rows, kReaders}}, {"angles", {angles, kReaders}},
    {"attend", {attend, kReaders}}, {"hidden", {hidden, kReaders}}, {"remember", {remember, {"memory"}}},
    {"output", {output, {"head"}}}, {"norm", {norm, {}}}, {"linear", {linear, {}}}, {"gate", {gate, {}}},
    {"scale", {scale, {}}}, {"add", {add, {}}}, {"rotate", {rotate, {}}}, {"tap", {tap, {}}},
};

} // namespace

std::unique_ptr<Operation> build(Model& model, const Line& line) {
  const auto found = kBuilders.find(line.kind);
  if (found == kBuilders.end()) throw std::invalid_argument("it is not known");
  const auto& [make, programs] = found->second;
  if (!programs.empty() && !programs.count(model.building())) throw std::invalid_argument("it cannot stand there");
  Settings settings(line);
  auto operation = make(model, line, settings);
  settings.done();
  return operation;
}

} // namespace weft
