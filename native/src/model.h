// A model as the engine holds it: packed weights and programs, both read-only once it is built. What a text has been read so far
// is a Session's.

#pragma once

#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "cache.h"
#include "kernels.h"
#include "pool.h"

namespace weft {

// A tensor as a file holds it. kind: F32, F16 or BF16.
struct Tensor {
  std::string kind;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;

  std::int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  std::int64_t columns() const { return shape.size() < 2 ? 1 : shape[1]; }
  std::int64_t size() const;
  // Numbers [first, first + count) as float32.
  void read(std::int64_t first, std::int64_t count, float* out) const;
};

using Value = std::variant<std::int64_t, double, std::string>;

// One line of a program, as Python writes it (weft.backends.lowering).
struct Line {
  std::string kind;
  std::vector<std::string> buffers; // what it reads, then what it writes
  std::vector<std::string> weights; // parameters; of a matrix several whose rows follow each other
  std::vector<std::string> biases;  // of each of them; empty: none
  std::map<std::string, Value> settings;
};

class Session;

// What a line became.
struct Operation {
  virtual ~Operation() = default;
  virtual void run(Session&) const = 0;
  virtual std::string describe() const = 0;
};

using Program = std::vector<std::unique_ptr<Operation>>;

// What the tables of a program have rows for: ids, kinds and positions of tokens below these.
struct Reach {
  int ids = std::numeric_limits<int>::max(), types = ids, positions = ids;
};

// The last step of a program that ends in logits.
struct Output {
  const Matrix* matrix = nullptr;
  int input = -1; // buffer
  float soft_cap = 0;
};

// Memory for rows of activations.
struct Free {
  void operator()(float* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
using Floats = std::unique_ptr<float[], Free>;
Floats allocate(std::size_t count);

class Model {
public:
  // programs: by name (encoder, memory, decoder, head). weights: all of them are used, or this throws std::invalid_argument.
  // arena: where they go once they are packed; filled: they are there already, and only the shapes of `weights` are looked at.
  Model(const std::vector<std::pair<std::string, std::vector<Line>>>& programs, const std::map<std::string, Tensor>& weights,
        Precision precision, int threads, std::unique_ptr<Arena> arena);

  const Program& program(const std::string& name) const;
  bool has(const std::string& name) const { return programs_.count(name) > 0; }
  const std::map<std::string, Program>& programs() const { return programs_; }
  const std::vector<int>& widths() const { return widths_; }

  // While it is built: the program that a line belongs to, and numbers of the buffers that a line reads (something of the program
  // has written them) and writes (made if they are new). Throw std::invalid_argument, for another width too.
  const std::string& building() const { return building_; }
  int reads(const std::string& name) const;
  int reads(const std::string& name, int width) const;
  int writes(const std::string& name, int width);
  void hides(int buffer); // it holds the hidden states
  Reach& reach() { return building_ == "encoder" ? encoder_reach : decoder_reach; }

  // wide: float32, whatever the others are.
  const Matrix& matrix(const std::vector<std::string>& weights, const std::vector<std::string>& biases, bool wide = false);
  const float* dense(const std::string& weight, std::int64_t size);
  const Tensor& tensor(const std::string& name) const;

  const Kernels& kernels() const { return kernels_; }
  Pool& pool() const { return *pool_; }
  Precision precision() const { return precision_; }
  std::size_t bytes() const { return bytes_; } // of matrices
  const Arena& arena() const { return *arena_; }
  std::size_t widest_operand() const { return widest_operand_; }

  CacheShape encoder, own, cross; // of an encoder's layer, of what a decoder has read, and of its sources
  Reach encoder_reach, decoder_reach;
  int hidden = -1;                // buffer of hidden states
  Output output;
  std::mutex& lock() const { return lock_; }

private:
  void begin(const std::string& program);
  void check() const;
  int check_width(int number, const std::string& name, int width) const;
  std::unique_ptr<Matrix> packed(const std::vector<std::string>& weights, Precision precision);
  void pack(const Matrix& matrix, const std::vector<const Tensor*>& parts, std::byte* panels, float* scales, std::int32_t* offsets);

  const Kernels& kernels_;
  std::unique_ptr<Pool> pool_;
  Precision precision_;
  const std::map<std::string, Tensor>* weights_;
  std::map<std::string, bool> used_;
  std::unique_ptr<Arena> arena_;
  std::map<std::string, std::unique_ptr<Matrix>> matrices_;
  std::map<std::string, const float*> dense_;
  std::size_t bytes_ = 0;
  std::map<std::string, int> buffers_;
  std::set<int> written_; // by the program that is built
  std::string building_;
  std::vector<int> widths_;
  std::map<std::string, Program> programs_;
  std::size_t widest_operand_ = 0;
  mutable std::mutex lock_;
};

// Builds the operation of a line. Throws std::invalid_argument for what it does not know.
std::unique_ptr<Operation> build(Model& model, const Line& line);

} // namespace weft
