#include "session.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <unistd.h>

namespace weft {

namespace {

constexpr int kChunk = 512;      // logits that are looked through together; a multiple of every panel
constexpr int kChunkRows = 24;   // rows of them; a multiple of a product's rows
constexpr std::size_t kSmall = 48 << 10;    // bytes of weights times rows that one thread reads as fast as two
constexpr std::size_t kMostRows = (1 << 20) - 1;
constexpr std::size_t kOperands = 384 << 10; // bytes of activations that stay in a core's cache

void check_rows(std::size_t rows) {
  if (rows > kMostRows) throw std::length_error(std::to_string(rows) + " rows; at most " + std::to_string(kMostRows));
}

constexpr float kNothing = -std::numeric_limits<float>::infinity();

// log(sum of exp) of a row, from the highest logit and the sum of each of its chunks.
float log_sum(const float* tops, const float* sums, int chunks) {
  const float highest = *std::max_element(tops, tops + chunks);
  double sum = 0;
  for (int chunk = 0; chunk < chunks; chunk++)
    if (tops[chunk] > kNothing) sum += sums[chunk] * std::exp(static_cast<double>(tops[chunk]) - highest);
  return static_cast<float>(highest + std::log(sum));
}

// The k best of several lists, each falling; ties to the lowest id.
void merge(const Best* lists, int count, float normaliser, int k, std::int64_t* ids, float* log_probs) {
  std::vector<int> next(count);
  for (int i = 0; i < k; i++) {
    int from = -1;
    for (int t = 0; t < count; t++) {
      if (next[t] == lists[t].found) continue;
      if (from >= 0) {
        const float a = lists[t].values[next[t]], b = lists[from].values[next[from]];
        if (a < b || (a == b && lists[t].ids[next[t]] > lists[from].ids[next[from]])) continue;
      }
      from = t;
    }
    const float value = lists[from].values[next[from]];
    ids[i] = lists[from].ids[next[from]++];
    log_probs[i] = value > kNothing ? value - normaliser : kNothing;
  }
}

} // namespace

void check_affordable(std::size_t bytes, const char* what) {
  static const std::size_t memory = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  if (bytes > memory / 2)
    throw std::length_error(std::string(what) + " need " + std::to_string(bytes >> 20) + " MB, more than half of this machine's " +
                            std::to_string(memory >> 20) + "; read fewer at a time");
}

bool Session::wants(const std::string& name) const { return std::find(wanted.begin(), wanted.end(), name) != wanted.end(); }

float* Session::show(const std::string& name, std::vector<std::size_t> shape) {
  std::size_t size = 1;
  for (const std::size_t side : shape) size *= side;
  check_affordable((shown.size() + size) * sizeof(float), "the inspection points of so many tokens");
  seen.push_back({name, shown.size(), std::move(shape)});
  shown.resize(shown.size() + size);
  return shown.data() + seen.back().first;
}

void Session::reserve(int rows) {
  if (rows <= capacity_) return;
  std::size_t floats = 0;
  for (std::size_t i = 0; i < buffers_.size(); i++) floats += stride(static_cast<int>(i));
  check_affordable(floats * sizeof(float) * rows, "the buffers of so many tokens");
  capacity_ = std::max(rows, capacity_ + capacity_ / 2);
  for (std::size_t i = 0; i < buffers_.size(); i++) {
    Floats wider = allocate(static_cast<std::size_t>(capacity_) * stride(static_cast<int>(i)));
    buffers_[i] = std::move(wider);
  }
}

std::byte* Session::operand(int rows, std::size_t stride) {
  const std::size_t floats = rows * stride / sizeof(float) + 16;
  if (floats > operand_floats_) {
    operand_ = allocate(floats);
    operand_floats_ = floats;
  }
  if (static_cast<int>(operand_scales_.size()) < rows) operand_scales_.resize(rows);
  return reinterpret_cast<std::byte*>(operand_.get());
}

float* Session::scratch(int thread, std::size_t floats) {
  auto& own = scratch_[thread];
  if (own.size() < floats) own.resize(floats);
  return own.data();
}

void Session::run(const std::string& program) {
  if (scratch_.empty()) scratch_.resize(pool().threads());
  try {
    for (const auto& operation : model_->program(program)) operation->run(*this);
  } catch (...) { // out of memory: caches hold what is not there
    rows_.clear();
    feed_ = Feed{};
    throw;
  }
  if (model_->arena().cut()) throw std::runtime_error("the file of packed weights was cut short while it was open; load the model again");
}

// What comes in, before anything changes.
void Session::check(const Reach& reach, const Ids& ids, const Ids& types, std::int64_t longest) {
  const auto below = [](const Ids& numbers, int most, const std::string& what) {
    for (const int number : numbers)
      if (number < 0 || number >= most)
        throw std::out_of_range(what + " " + std::to_string(number) + "; they run from 0 to " + std::to_string(most - 1));
  };
  below(ids, reach.ids, "token id");
  below(types, reach.types, "type");
  if (longest > reach.positions)
    throw std::out_of_range("a text of " + std::to_string(longest) + " tokens; the model's positions end at " +
                            std::to_string(reach.positions));
}

// ---------------------------------------------------------------- reading texts

void Session::encode(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& counts,
                     const std::vector<std::int32_t>& types) {
  check(model_->encoder_reach, ids, types, counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end()));
  encoded_.clear();
  feed_ = Feed{};
  reserve(static_cast<int>(ids.size()));
  feed_.count = static_cast<int>(ids.size());
  feed_.ids = ids;
  feed_.types = types.empty() ? std::vector<std::int32_t>(ids.size()) : types;
  int first = 0;
  for (const int count : counts) {
    auto source = std::make_shared<Source>();
    source->own = std::make_shared<Cache>(encoder_);
    for (int i = 0; i < count; i++) {
      feed_.positions.push_back(i);
      feed_.lengths.push_back(count);
      feed_.slots.push_back(source->own->add(i));
    }
    feed_.groups.push_back({source.get(), first, count, false, nullptr});
    first += count;
    encoded_.push_back(std::move(source));
  }
  feed_.visible.assign(feed_.count, nullptr);
  run("encoder");
  can_remember_ = true;
}

Memory Session::remember() {
  if (!can_remember_) throw std::invalid_argument("only texts that were encoded just now can be remembered");
  can_remember_ = false;
  Memory memory;
  for (std::size_t i = 0; i < encoded_.size(); i++) {
    encoded_[i]->own.reset();
    auto cross = std::make_shared<Cache>(cross_);
    for (int position = 0; position < feed_.groups[i].count; position++) cross->add(position);
    encoded_[i]->cross = cross;
    memory.sources.push_back(std::move(cross));
  }
  run("memory");
  encoded_.clear();
  return memory;
}

void Session::start(int sources, const Memory* memory) {
  rows_.clear();
  feed_ = Feed{};
  can_remember_ = false;
  join(sources, memory);
}

void Session::join(int sources, const Memory* memory) {
  if (memory && static_cast<int>(memory->sources.size()) != sources) throw std::invalid_argument("a memory of another batch");
  for (int i = 0; memory && i < sources; i++)
    if (memory->sources[i]->shape() != model_->cross) throw std::invalid_argument("a memory of another model");
  check_rows(rows_.size() + sources);
  for (int i = 0; i < sources; i++) {
    auto source = std::make_shared<Source>();
    source->own = std::make_shared<Cache>(own_);
    if (memory) source->cross = memory->sources[i];
    rows_.push_back({std::move(source), {}, 0});
  }
}

std::shared_ptr<const Shortlist> Session::shortlist(const Ids& ids) const {
  const Matrix& all = *model_->output.matrix;
  for (std::size_t i = 0; i < ids.size(); i++)
    if (ids[i] < 0 || ids[i] >= all.outputs || (i && ids[i] <= ids[i - 1]))
      throw std::out_of_range("token id " + std::to_string(ids[i]) + " of a shortlist; they rise, from 0 to " +
                              std::to_string(all.outputs - 1));
  const int panel = kernels().panel, count = static_cast<int>(ids.size()), panels = (count + panel - 1) / panel;
  const std::size_t floats = panels * all.panel_bytes / sizeof(float), padded = static_cast<std::size_t>(panels) * panel;
  auto made = std::make_shared<Shortlist>();
  made->ids = ids;
  made->panels = allocate(floats);
  std::fill_n(made->panels.get(), floats, 0.0f);
  const auto copied = [&](const auto* from) {
    Floats to = allocate(padded);
    std::fill_n(to.get(), padded, 0.0f);
    for (int i = 0; i < count; i++) std::memcpy(to.get() + i, from + ids[i], sizeof(float));
    return to;
  };
  if (all.scales) made->scales = copied(all.scales);
  if (all.offsets) made->offsets = copied(all.offsets);
  if (all.bias) made->bias = copied(all.bias);
  auto* begin = reinterpret_cast<std::byte*>(made->panels.get());
  for (int i = 0; i < count; i++) kernels().copy_row(all, ids[i], begin + i / panel * all.panel_bytes, i % panel);
  made->matrix = {all.precision, count, all.inputs, begin, all.panel_bytes, made->scales.get(),
                  reinterpret_cast<const std::int32_t*>(made->offsets.get()), made->bias.get()};
  return made;
}

void Session::limit(const std::vector<std::vector<std::int32_t>>& lists) {
  std::vector<Source*> sources;
  for (const Row& row : rows_)
    if (sources.empty() || sources.back() != row.source.get()) sources.push_back(row.source.get());
  if (sources.size() != lists.size())
    throw std::invalid_argument(std::to_string(lists.size()) + " shortlists for " + std::to_string(sources.size()) + " sources");
  std::size_t bytes = 0;
  for (const auto& list : lists) bytes += (list.size() / kernels().panel + 1) * model_->output.matrix->panel_bytes;
  check_affordable(bytes, "the shortlists of so many sources");
  std::vector<std::shared_ptr<const Shortlist>> made(lists.size());
  pool().run(static_cast<int>(lists.size()), [&](int i, int) { made[i] = shortlist(lists[i]); });
  for (std::size_t i = 0; i < lists.size(); i++) sources[i]->shortlist = std::move(made[i]);
}

void Session::spread(int copies) {
  check_rows(static_cast<std::size_t>(this->rows()) * copies);
  std::vector<std::int32_t> rows;
  for (int i = 0; i < this->rows(); i++) rows.insert(rows.end(), copies, i);
  gather(rows);
}

void Session::gather(const std::vector<std::int32_t>& rows) {
  check_rows(rows.size());
  std::vector<Row> kept;
  kept.reserve(rows.size());
  for (const int row : rows) {
    if (row < 0 || row >= this->rows()) throw std::out_of_range("row " + std::to_string(row));
    kept.push_back(rows_[row]);
  }
  rows_ = std::move(kept);
}

void Session::drop(int count) {
  for (const Row& row : rows_)
    if (count < 0 || count > row.length)
      throw std::out_of_range("cannot forget " + std::to_string(count) + " of " + std::to_string(row.length) + " tokens");
  for (Row& row : rows_) {
    row.length -= count;
    const std::int32_t* positions = row.source->own->positions();
    for (std::size_t block = 0; block < row.visible.size(); block++)
      for (int i = 0; i < kBlock; i++)
        if (row.visible[block] >> i & 1 && positions[block * kBlock + i] >= row.length) row.visible[block] &= ~(1u << i);
    if (row.source.use_count() > 1) continue; // other rows may see what this one wrote
    int used = 0;
    for (std::size_t block = 0; block < row.visible.size(); block++)
      if (row.visible[block]) used = static_cast<int>(block) * kBlock + std::bit_width(row.visible[block]);
    row.source->own->shrink(used);
    row.visible.resize(row.source->own->blocks());
  }
}

// Slots of beams that were given up serve again.
void Session::free_unseen() {
  std::vector<std::uint16_t> seen;
  for (std::size_t i = 0; i < rows_.size();) {
    const Source* source = rows_[i].source.get();
    Cache& cache = *rows_[i].source->own;
    std::size_t end = i;
    seen.assign(cache.blocks(), 0);
    for (; end < rows_.size() && rows_[end].source.get() == source; end++)
      for (std::size_t block = 0; block < rows_[end].visible.size(); block++) seen[block] |= rows_[end].visible[block];
    if (rows_[i].source.use_count() == static_cast<long>(end - i)) cache.keep(seen); // no row of it stands elsewhere
    i = end;
  }
}

void Session::feed(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& counts, bool whole) {
  if (static_cast<int>(counts.size()) != rows()) throw std::invalid_argument("a count for each row is needed");
  std::int64_t longest = 0;
  for (int i = 0; i < rows(); i++) longest = std::max(longest, std::int64_t{rows_[i].length} + counts[i]);
  check(model_->decoder_reach, ids, {}, longest);
  feed_ = Feed{};
  can_remember_ = false;
  reserve(static_cast<int>(ids.size()));
  feed_.count = static_cast<int>(ids.size());
  feed_.ids = ids;
  free_unseen();
  for (int i = 0; i < rows(); i++) {
    Row& row = rows_[i];
    Cache& cache = *row.source->own;
    const int length = row.length + counts[i];
    for (int t = 0; t < counts[i]; t++) {
      const int slot = cache.add(row.length);
      row.visible.resize(cache.blocks());
      row.visible[slot / kBlock] |= static_cast<std::uint16_t>(1u << slot % kBlock);
      feed_.positions.push_back(row.length++);
      feed_.lengths.push_back(whole ? length : row.length);
      feed_.slots.push_back(slot);
    }
  }
  int first = 0;
  for (int i = 0; i < rows(); i++) {
    Row& row = rows_[i];
    row.visible.resize(row.source->own->blocks());
    feed_.visible.insert(feed_.visible.end(), counts[i], row.visible.data());
    const bool hidden = row.length != row.source->own->count();
    const bool joins = !feed_.groups.empty() && feed_.groups.back().source == row.source.get();
    if (joins) {
      feed_.groups.back().count += counts[i];
      feed_.groups.back().hidden |= hidden;
    } else if (counts[i]) {
      feed_.groups.push_back({row.source.get(), first, counts[i], hidden, row.source->shortlist});
    }
    first += counts[i];
  }
  if (feed_.count) run("decoder");
}

// ---------------------------------------------------------------- products

void Session::multiply(const Matrix& matrix, int input, int output, Activation activation, bool residual) {
  const std::size_t stride = kernels().operand_bytes(matrix.precision, matrix.inputs);
  std::byte* operands = operand(count(), stride);
  const float* x = buffer(input);
  const std::ptrdiff_t wide = this->stride(input);
  each(matrix.inputs, [&](int row) {
    kernels().prepare(matrix.precision, x + row * wide, matrix.inputs, operands + row * stride, &operand_scales_[row]);
  });
  const int panels = (matrix.outputs + kernels().panel - 1) / kernels().panel;
  const int block = static_cast<int>(std::max<std::size_t>(6, kOperands / stride / 6 * 6));
  for (int first = 0; first < count(); first += block) {
    const int rows = std::min(block, count() - first);
    Product product{&matrix, operands + first * stride, stride,
                    matrix.precision == Precision::int8 ? operand_scales_.data() + first : nullptr, rows, activation,
                    nullptr, buffer(output) + first * this->stride(output), this->stride(output)};
    if (residual) product.residual = product.out;
    if (matrix.panel_bytes * panels * rows < kSmall || pool().threads() == 1) {
      kernels().product(product, 0, panels);
      continue;
    }
    const int threads = pool().threads(), wanted = rows == 1 ? 4 : 2; // panels; one row goes over four at once
    const int together = panels >= wanted * threads ? wanted : 1;
    const int piece = (panels / (4 * threads) + together) / together * together;
    pool().run((panels + piece - 1) / piece, [&](int item, int) {
      kernels().product(product, item * piece, std::min(panels, (item + 1) * piece));
    });
  }
}

void Session::choose(const std::vector<std::int32_t>& tokens) {
  can_remember_ = false;
  float* x = buffer(model_->hidden);
  const std::ptrdiff_t wide = stride(model_->hidden);
  int row = 0;
  std::vector<Group> groups;
  auto group = feed_.groups.begin();
  for (const int token : tokens) {
    if (token < row || token >= count()) throw std::out_of_range("token " + std::to_string(token) + " of those read last");
    if (token != row) std::copy_n(x + token * wide, wide, x + row * wide);
    while (group != feed_.groups.end() && token >= group->first + group->count) ++group;
    if (group != feed_.groups.end() && (groups.empty() || groups.back().source != group->source))
      groups.push_back({group->source, row, 0, group->hidden, group->shortlist});
    if (!groups.empty()) groups.back().count++;
    row++;
  }
  feed_.count = row;
  feed_.groups = std::move(groups);
}

void Session::head() { run("head"); }

// What the output layer is multiplied with, of all rows.
std::byte* Session::head_operands(std::size_t stride) {
  const Output& output = model_->output;
  std::byte* operands = operand(count(), stride);
  const float* x = buffer(output.input);
  each(output.matrix->inputs, [&](int row) {
    kernels().prepare(output.matrix->precision, x + row * this->stride(output.input), output.matrix->inputs, operands + row * stride,
                      &operand_scales_[row]);
  });
  return operands;
}

void Session::cap(float* logits, int columns) const {
  const float most = model_->output.soft_cap;
  if (most <= 0) return;
  kernels().scale(1.0f / most, logits, columns);
  kernels().activate(Activation::tanh, logits, columns);
  kernels().scale(most, logits, columns);
}

// Calls f(rows' logits [count, kChunk], first row, count, first column, columns, thread) for pieces that cover all logits;
// pieces of one row come with rising columns on each thread.
template <class F> void Session::pieces(F f) {
  const Output& output = model_->output;
  const Matrix& matrix = *output.matrix;
  const std::size_t stride = kernels().operand_bytes(matrix.precision, matrix.inputs);
  const std::byte* operands = head_operands(stride);
  const int chunks = (matrix.outputs + kChunk - 1) / kChunk, panels = (matrix.outputs + kernels().panel - 1) / kernels().panel;
  const int per_chunk = kChunk / kernels().panel;
  pool().run(chunks, [&](int chunk, int thread) {
    float* out = scratch(thread, static_cast<std::size_t>(kChunkRows) * kChunk);
    const int columns = std::min(kChunk, matrix.outputs - chunk * kChunk);
    for (int first = 0; first < count(); first += kChunkRows) {
      const int rows = std::min(kChunkRows, count() - first);
      const Product product{&matrix, operands + first * stride, stride,
                            matrix.precision == Precision::int8 ? operand_scales_.data() + first : nullptr, rows,
                            Activation::none, nullptr, out, kChunk, chunk * kChunk};
      kernels().product(product, chunk * per_chunk, std::min(panels, (chunk + 1) * per_chunk));
      for (int row = 0; row < rows; row++) cap(out + row * kChunk, columns);
      f(out, first, rows, chunk * kChunk, columns, thread);
    }
  });
}

void Session::logits(float* out) {
  const std::ptrdiff_t width = model_->output.matrix->outputs;
  pieces([&](const float* logits, int first, int rows, int column, int columns, int) {
    for (int row = 0; row < rows; row++)
      std::memcpy(out + (first + row) * width + column, logits + row * kChunk, columns * sizeof(float));
  });
}

void Session::best(int k, const std::vector<std::vector<std::int32_t>>& banned, std::int64_t* ids, float* log_probs, float* all) {
  const int outputs = model_->output.matrix->outputs, chunks = (outputs + kChunk - 1) / kChunk, threads = pool().threads();
  if (k < 1 || k > outputs) throw std::invalid_argument("between 1 and " + std::to_string(outputs) + " are the best of a row");
  if (banned.size() != 1 && static_cast<int>(banned.size()) != count()) throw std::invalid_argument("one list of banned ids, or one a row");
  const auto listed = std::count_if(feed_.groups.begin(), feed_.groups.end(), [](const Group& group) { return group.shortlist != nullptr; });
  if (listed && listed != static_cast<std::ptrdiff_t>(feed_.groups.size()))
    throw std::invalid_argument("some of the sources have a shortlist and others none");
  if (listed) {
    if (all) logits(all);
    return best_listed(k, banned, ids, log_probs);
  }
  const std::size_t n = count(), lists = n * threads;
  check_affordable(lists * k * 8, "the likeliest tokens of so many rows");
  std::vector<float> values(lists * k), tops(n * chunks), sums(n * chunks);
  std::vector<std::int32_t> found(lists * k);
  std::vector<Best> bests(lists);
  for (std::size_t i = 0; i < lists; i++) bests[i] = {k, 0, values.data() + i * k, found.data() + i * k};
  pieces([&](float* logits, int first, int rows, int column, int columns, int thread) {
    for (int row = 0; row < rows; row++) {
      if (all) std::memcpy(all + (static_cast<std::ptrdiff_t>(first) + row) * outputs + column, logits + row * kChunk, columns * sizeof(float));
      const auto& own = banned[banned.size() == 1 ? 0 : first + row];
      for (auto ban = std::lower_bound(own.begin(), own.end(), column); ban != own.end() && *ban < column + columns; ++ban)
        logits[row * kChunk + *ban - column] = kNothing;
      const std::size_t at = static_cast<std::size_t>(first + row) * chunks + column / kChunk;
      kernels().scan(logits + row * kChunk, columns, column, bests[(first + row) * threads + thread], tops[at], sums[at]);
    }
  });
  for (std::size_t row = 0; row < n; row++)
    merge(bests.data() + row * threads, threads, log_sum(tops.data() + row * chunks, sums.data() + row * chunks, chunks), k,
          ids + row * k, log_probs + row * k);
}

// `best` where each source has a shortlist. What it leaves out comes last, by its ids, as what is banned does.
void Session::best_listed(int k, const std::vector<Ids>& banned, std::int64_t* ids, float* log_probs) {
  const Matrix& all = *model_->output.matrix;
  const std::size_t stride = kernels().operand_bytes(all.precision, all.inputs);
  const std::byte* operands = head_operands(stride);
  pool().run(static_cast<int>(feed_.groups.size()), [&](int item, int thread) {
    const Group& group = feed_.groups[item];
    const Shortlist& list = *group.shortlist;
    const int columns = list.matrix.outputs, wide = padded(columns), kept = std::min(k, columns);
    std::vector<float> values(kept);
    std::vector<std::int32_t> found(kept);
    for (int first = group.first; first < group.first + group.count; first += kChunkRows) {
      const int rows = std::min(kChunkRows, group.first + group.count - first);
      float* out = scratch(thread, static_cast<std::size_t>(rows) * wide);
      const Product product{&list.matrix, operands + first * stride, stride,
                            all.precision == Precision::int8 ? operand_scales_.data() + first : nullptr, rows,
                            Activation::none, nullptr, out, wide};
      kernels().product(product, 0, (columns + kernels().panel - 1) / kernels().panel);
      for (int row = 0; row < rows; row++) {
        float* logits = out + static_cast<std::ptrdiff_t>(row) * wide;
        cap(logits, columns);
        for (const int ban : banned[banned.size() == 1 ? 0 : first + row]) {
          const auto place = std::lower_bound(list.ids.begin(), list.ids.end(), ban);
          if (place != list.ids.end() && *place == ban) logits[place - list.ids.begin()] = kNothing;
        }
        Best best{kept, 0, values.data(), found.data()};
        float top, sum;
        kernels().scan(logits, columns, 0, best, top, sum);
        const float normaliser = log_sum(&top, &sum, 1);
        std::int64_t* own = ids + static_cast<std::ptrdiff_t>(first + row) * k;
        float* probs = log_probs + static_cast<std::ptrdiff_t>(first + row) * k;
        int chosen = 0;
        for (; chosen < best.found && values[chosen] > kNothing; chosen++) {
          own[chosen] = list.ids[found[chosen]];
          probs[chosen] = values[chosen] - normaliser;
        }
        const int allowed = chosen;
        for (int id = 0; chosen < k; id++)
          if (std::find(own, own + allowed, id) == own + allowed) {
            own[chosen] = id;
            probs[chosen++] = kNothing;
          }
      }
    }
  });
}

void Session::select(const float* logits, int rows, int columns, int k, std::int64_t* ids, float* log_probs) {
  if (k < 1 || k > columns) throw std::invalid_argument("between 1 and " + std::to_string(columns) + " are the best of a row");
  const int chunks = (columns + kChunk - 1) / kChunk;
  pool().run(rows, [&](int row, int) {
    std::vector<float> values(k), tops(chunks), sums(chunks);
    std::vector<std::int32_t> found(k);
    Best best{k, 0, values.data(), found.data()};
    for (int chunk = 0; chunk < chunks; chunk++)
      kernels().scan(logits + static_cast<std::ptrdiff_t>(row) * columns + chunk * kChunk,
                     std::min(kChunk, columns - chunk * kChunk), chunk * kChunk, best, tops[chunk], sums[chunk]);
    merge(&best, 1, log_sum(tops.data(), sums.data(), chunks), k, ids + static_cast<std::ptrdiff_t>(row) * k,
          log_probs + static_cast<std::ptrdiff_t>(row) * k);
  });
}

std::vector<float> Session::hidden() const {
  const std::size_t width = model_->widths()[model_->hidden];
  std::vector<float> rows(count() * width);
  for (int row = 0; row < count(); row++)
    std::copy_n(buffer(model_->hidden) + row * stride(model_->hidden), width, rows.data() + row * width);
  return rows;
}

void Session::put(const float* rows, int count) {
  const std::size_t width = model_->widths()[model_->hidden];
  feed_ = Feed{};
  can_remember_ = false;
  reserve(count);
  feed_.count = count;
  for (int row = 0; row < count; row++) std::copy_n(rows + row * width, width, buffer(model_->hidden) + row * stride(model_->hidden));
}

} // namespace weft
