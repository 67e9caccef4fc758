#include "model.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

namespace weft {

namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31; // numbers of a tensor's side
constexpr int kWidest = 1 << 20;                      // buffer
constexpr int kMostInt8 = 1 << 16;                    // inputs whose products of 8 bits 32 bits can add up

float from_half(std::uint16_t h) {
  const std::uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, fraction = h & 1023u;
  std::uint32_t u;
  if (exponent == 31) u = sign | 0x7f800000u | fraction << 13;
  else if (exponent) u = sign | (exponent + 112) << 23 | fraction << 13;
  else {
    const float tiny = static_cast<float>(fraction) * 5.9604644775390625e-8f; // 2^-24
    return sign ? -tiny : tiny;
  }
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

} // namespace

Floats allocate(std::size_t count) {
  auto* p = static_cast<float*>(::operator new[](std::max<std::size_t>(count, 16) * sizeof(float), std::align_val_t{64}));
  std::fill(p, p + count, 0.0f);
  return Floats(p);
}

std::int64_t Tensor::size() const {
  std::int64_t n = 1;
  for (auto side : shape) {
    if (side < 0 || side >= kMost || (side && n > (kMost << 10) / side))
      throw std::invalid_argument("a tensor of impossible size");
    n *= side;
  }
  return n;
}

void Tensor::read(std::int64_t first, std::int64_t count, float* out) const {
  if (kind == "F32") {
    std::memcpy(out, data + first * 4, count * sizeof(float));
    return;
  }
  const bool brain = kind == "BF16";
  for (std::int64_t i = 0; i < count; i++) { // a file may put its numbers at any address
    std::uint16_t bits;
    std::memcpy(&bits, data + (first + i) * 2, sizeof bits);
    const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
    if (brain) std::memcpy(out + i, &wide, sizeof wide);
    else out[i] = from_half(bits);
  }
}

Model::Model(const std::vector<std::pair<std::string, std::vector<Line>>>& programs, const std::map<std::string, Tensor>& weights,
             Precision precision, int threads, std::unique_ptr<Arena> arena)
    : kernels_(choose_kernels()), pool_(std::make_unique<Pool>(threads)), precision_(precision), weights_(&weights),
      arena_(std::move(arena)) {
  for (const auto& [name, lines] : programs) {
    begin(name);
    auto& program = programs_[name];
    for (const auto& line : lines) {
      try {
        if (auto operation = build(*this, line)) program.push_back(std::move(operation));
      } catch (const std::exception& error) {
        throw std::invalid_argument("operation " + line.kind + " of program " + name + ": " + error.what());
      }
    }
  }
  std::string unused;
  for (const auto& [name, tensor] : weights)
    if (!used_.count(name)) unused += (unused.empty() ? "" : ", ") + name;
  if (!unused.empty()) throw std::invalid_argument("no operation uses " + unused);
  weights_ = nullptr;
  if (arena_->filled() && arena_->left()) throw std::invalid_argument("the image of the weights is too long");
  check();
}

// Programs come in the order in which they hand over hidden states.
void Model::begin(const std::string& program) {
  const bool reads = program == "memory" || program == "head"; // what an encoder or a decoder has left
  if (!reads && program != "encoder" && program != "decoder") throw std::invalid_argument("program " + program + " is not known");
  if (has(program)) throw std::invalid_argument("program " + program + " comes twice");
  if (program == "memory" ? !has("encoder") || has("decoder") : reads && hidden < 0)
    throw std::invalid_argument("program " + program + " stands before what it reads");
  building_ = program;
  written_.clear();
  if (reads && hidden >= 0) written_.insert(hidden);
}

// What lines cannot see by themselves.
void Model::check() const {
  if ((has("encoder") || has("decoder")) && hidden < 0) throw std::invalid_argument("no program leaves hidden states");
  if (has("encoder") && has("decoder") != has("memory"))
    throw std::invalid_argument("an encoder and a decoder need a memory between them");
}

void Model::hides(int buffer) {
  if (hidden >= 0 && hidden != buffer) throw std::invalid_argument("hidden states in two buffers");
  hidden = buffer;
}

const Program& Model::program(const std::string& name) const {
  const auto found = programs_.find(name);
  if (found == programs_.end()) throw std::invalid_argument("the model has no program " + name);
  return found->second;
}

int Model::reads(const std::string& name) const {
  const auto found = buffers_.find(name);
  if (found == buffers_.end() || !written_.count(found->second))
    throw std::invalid_argument("nothing has written buffer " + name);
  return found->second;
}

int Model::reads(const std::string& name, int width) const { return check_width(reads(name), name, width); }

int Model::writes(const std::string& name, int width) {
  if (width < 1 || width > kWidest) throw std::invalid_argument("buffer " + name + " of width " + std::to_string(width));
  const auto [found, fresh] = buffers_.try_emplace(name, static_cast<int>(widths_.size()));
  if (fresh) widths_.push_back(width);
  written_.insert(found->second);
  return check_width(found->second, name, width);
}

int Model::check_width(int number, const std::string& name, int width) const {
  if (widths_[number] != width)
    throw std::invalid_argument("buffer " + name + " has width " + std::to_string(widths_[number]) + ", not " +
                                std::to_string(width));
  return number;
}

const Tensor& Model::tensor(const std::string& name) const {
  const auto found = weights_->find(name);
  if (found == weights_->end()) throw std::invalid_argument("weight " + name + " is missing");
  return found->second;
}

const float* Model::dense(const std::string& name, std::int64_t size) {
  const Tensor& tensor = this->tensor(name);
  if (size >= 0 && tensor.size() != size)
    throw std::invalid_argument("weight " + name + " has " + std::to_string(tensor.size()) + " numbers, not " +
                                std::to_string(size));
  used_[name] = true;
  auto& kept = dense_[name];
  if (!kept) {
    auto* fresh = arena_->take_of<float>(tensor.size());
    if (!arena_->filled()) tensor.read(0, tensor.size(), fresh);
    kept = fresh;
  }
  return kept;
}

// The panels are packed once, whatever biases are added to them.
const Matrix& Model::matrix(const std::vector<std::string>& weights, const std::vector<std::string>& biases, bool wide) {
  std::string key = wide ? "wide|" : "";
  for (const auto& name : weights) key += name + "|";
  auto& plain = matrices_[key];
  if (!plain) plain = packed(weights, wide ? Precision::float32 : precision_);
  if (biases.empty()) return *plain;
  if (biases.size() != weights.size()) throw std::invalid_argument("a bias for some weights only");
  for (const auto& name : biases) key += "+" + name;
  auto& biased = matrices_[key];
  if (biased) return *biased;
  auto* bias = arena_->take_of<float>(padded(plain->outputs));
  std::int64_t row = 0;
  for (std::size_t i = 0; i < biases.size(); row += tensor(weights[i++]).rows()) {
    if (biases[i].empty()) continue;
    const float* own = dense(biases[i], tensor(weights[i]).rows());
    if (!arena_->filled()) std::copy_n(own, tensor(weights[i]).rows(), bias + row);
  }
  biased = std::make_unique<Matrix>(*plain);
  biased->bias = bias;
  return *biased;
}

std::unique_ptr<Matrix> Model::packed(const std::vector<std::string>& weights, Precision precision) {
  if (weights.empty()) throw std::invalid_argument("a matrix without weights");
  std::vector<const Tensor*> parts;
  std::int64_t rows = 0;
  for (const auto& name : weights) {
    parts.push_back(&tensor(name));
    if (parts.back()->shape.size() != 2 || parts.back()->columns() != parts[0]->columns())
      throw std::invalid_argument("weight " + name + " is no matrix that stands with " + weights[0]);
    rows += parts.back()->rows();
    used_[name] = true;
  }
  if (rows < 1 || rows >= 1 << 24 || parts[0]->columns() < 1 || parts[0]->columns() >= 1 << 24)
    throw std::invalid_argument("weight " + weights[0] + " has an impossible shape");
  if (precision == Precision::int8 && parts[0]->columns() > kMostInt8)
    throw std::invalid_argument("weight " + weights[0] + " has more than " + std::to_string(kMostInt8) + " inputs, too many for int8");
  auto fresh = std::make_unique<Matrix>();
  fresh->precision = precision;
  fresh->outputs = static_cast<int>(rows);
  fresh->inputs = static_cast<int>(parts[0]->columns());
  fresh->panel_bytes = kernels_.panel_bytes(precision, fresh->inputs);
  const std::size_t bytes = fresh->panel_bytes * ((fresh->outputs + kernels_.panel - 1) / kernels_.panel);
  std::byte* panels = arena_->take(bytes);
  const bool scaled = precision == Precision::int8;
  float* scales = scaled ? arena_->take_of<float>(padded(fresh->outputs)) : nullptr;
  auto* offsets = scaled ? arena_->take_of<std::int32_t>(padded(fresh->outputs)) : nullptr;
  if (!arena_->filled()) pack(*fresh, parts, panels, scales, offsets);
  fresh->panels = panels;
  fresh->scales = scales;
  fresh->offsets = offsets;
  bytes_ += bytes;
  widest_operand_ = std::max(widest_operand_, kernels_.operand_bytes(precision, fresh->inputs));
  return fresh;
}

void Model::pack(const Matrix& m, const std::vector<const Tensor*>& parts, std::byte* panels, float* scales, std::int32_t* offsets) {
  pool_->run((m.outputs + kernels_.panel - 1) / kernels_.panel, [&](int panel, int) {
    std::vector<float> rows(static_cast<std::size_t>(kernels_.panel) * m.inputs);
    const int first = panel * kernels_.panel, count = std::min(kernels_.panel, m.outputs - first);
    std::int64_t start = 0;
    for (const Tensor* part : parts) { // the rows of this panel may come from several parts
      const std::int64_t from = std::max<std::int64_t>(first, start);
      const std::int64_t to = std::min<std::int64_t>(first + count, start + part->rows());
      if (from < to) part->read((from - start) * m.inputs, (to - from) * m.inputs, rows.data() + (from - first) * m.inputs);
      start += part->rows();
    }
    kernels_.pack(m.precision, rows.data(), count, m.inputs, panels + panel * m.panel_bytes, scales ? scales + first : nullptr,
                  offsets ? offsets + first : nullptr);
  });
}

} // namespace weft
