// What a batch of texts has been read so far, and the buffers that programs run over.
//
// A source is what rows have in common: the memory of an encoder, a prompt, a cache. A row sees its own history in its source's
// cache by a bit per slot, so that beams are gathered by copying bits.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model.h"

namespace weft {

// What cross-attention needs: a cache of keys and values a source.
struct Memory {
  std::vector<std::shared_ptr<Cache>> sources;

  void add(const Memory& more) {
    const auto added = more.sources; // which may be this memory's own
    sources.insert(sources.end(), added.begin(), added.end());
  }
};

// Rows of the output layer that a source chooses among, packed as a matrix of their own.
struct Shortlist {
  std::vector<std::int32_t> ids; // rising
  Matrix matrix;
  Floats panels, scales, offsets, bias;
};

struct Source {
  std::shared_ptr<Cache> own, cross;
  std::shared_ptr<const Shortlist> shortlist; // null: all of the vocabulary
};

struct Row {
  std::shared_ptr<Source> source;
  std::vector<std::uint16_t> visible; // a bit per slot of the source's own cache
  int length = 0;                     // tokens read
};

// Rows of activations that belong to one source, next to each other.
struct Group {
  Source* source; // while programs run; rows may leave afterwards
  int first, count;
  bool hidden; // some slots are for some rows only
  std::shared_ptr<const Shortlist> shortlist; // of the source as they were read
};

// The tokens that programs run over now.
struct Feed {
  int count = 0;
  std::vector<std::int32_t> ids, types, positions, lengths, slots; // lengths: of the text that a token belongs to
  std::vector<const std::uint16_t*> visible;
  std::vector<Group> groups;
};

// What an inspection point has shown: where it begins in `Session::shown`, and its shape.
struct Seen {
  std::string name;
  std::size_t first;
  std::vector<std::size_t> shape;
};

// Throws std::length_error where `bytes` for `what` would be more than half of the machine's memory.
void check_affordable(std::size_t bytes, const char* what);

class Session {
public:
  explicit Session(std::shared_ptr<Model> model)
      : model_(std::move(model)), encoder_(std::make_shared<Blocks>(model_->encoder)), own_(std::make_shared<Blocks>(model_->own)),
        cross_(std::make_shared<Blocks>(model_->cross)), buffers_(model_->widths().size()) {}

  const Model& model() const { return *model_; }
  const Kernels& kernels() const { return model_->kernels(); }
  Pool& pool() const { return model_->pool(); }

  // Encoder: texts of `counts` tokens each. Leaves their hidden states in "x".
  void encode(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& counts,
              const std::vector<std::int32_t>& types);
  // What cross-attention needs of the texts that were encoded just now.
  Memory remember();
  // Begin with `sources` texts, a row each, instead of those before.
  void start(int sources, const Memory* memory);
  // As many more rows, while others go on; `gather` lets rows leave.
  void join(int sources, const Memory* memory);
  // Sources choose among these ids, rising, in `best` from now on: a list for each source, as its rows stand.
  void limit(const std::vector<std::vector<std::int32_t>>& lists);
  // Every row of a source becomes `copies` rows.
  void spread(int copies);
  // Decoder: the next `counts` tokens of each row, of some none. Leaves their hidden states in "x". whole: they are read as one text, as long
  // for the first as for the last of them (dynamic rotary scaling goes by that); else as if they came one by one.
  void feed(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& counts, bool whole);
  void gather(const std::vector<std::int32_t>& rows);
  void drop(int count);
  int rows() const { return static_cast<int>(rows_.size()); }

  // Hidden states [count, width] in place of those that were read.
  void put(const float* rows, int count);
  // Keeps these of the hidden states, rising.
  void choose(const std::vector<std::int32_t>& tokens);
  // The head over all hidden states, up to its output layer.
  void head();
  // Hidden states of what was read last, [count, width].
  std::vector<float> hidden() const;
  // Logits of what `head` left, [rows, outputs].
  void logits(float* out);
  // The k likeliest of each row: ids, log-probabilities [rows, k]. banned: rising ids that no row may choose, or a list a row. logits:
  // null, or room for those of all, as the model gives them.
  void best(int k, const std::vector<std::vector<std::int32_t>>& banned, std::int64_t* ids, float* log_probs, float* logits = nullptr);

  // As `best`, of given logits [rows, columns].
  void select(const float* logits, int rows, int columns, int k, std::int64_t* ids, float* log_probs);

  // ---- for operations
  float* buffer(int number) const { return buffers_[number].get(); }
  std::ptrdiff_t stride(int number) const { return padded(model_->widths()[number]); }
  const Feed& tokens() const { return feed_; }
  int count() const { return feed_.count; }
  void multiply(const Matrix& matrix, int input, int output, Activation activation, bool residual);
  // Runs f(row) for every row, on several threads if that pays; cost: floats touched by a row.
  template <class F> void each(std::ptrdiff_t cost, F f);
  float* scratch(int thread, std::size_t floats);

  // ---- inspection: what programs leave under the names that are wanted
  std::vector<Seen> seen; // in the order of the programs
  std::vector<float> shown;
  std::vector<std::string> wanted;
  bool wants(const std::string& name) const;
  // Room for what is seen under a name, zeros; until the next one is.
  float* show(const std::string& name, std::vector<std::size_t> shape);

private:
  using Ids = std::vector<std::int32_t>;
  static void check(const Reach& reach, const Ids& ids, const Ids& types, std::int64_t longest);
  void reserve(int rows);
  void free_unseen();
  void run(const std::string& program);
  template <class F> void pieces(F f);
  std::shared_ptr<const Shortlist> shortlist(const Ids& ids) const;
  void best_listed(int k, const std::vector<Ids>& banned, std::int64_t* ids, float* log_probs);
  std::byte* head_operands(std::size_t stride);
  void cap(float* logits, int columns) const;
  std::byte* operand(int rows, std::size_t stride);

  std::shared_ptr<Model> model_;
  std::shared_ptr<Blocks> encoder_, own_, cross_;
  std::vector<Floats> buffers_;
  int capacity_ = 0;
  Feed feed_;
  std::vector<Row> rows_;
  std::vector<std::shared_ptr<Source>> encoded_;
  bool can_remember_ = false; // the texts read last were encoded
  Floats operand_;
  std::size_t operand_floats_ = 0;
  std::vector<float> operand_scales_;
  std::vector<std::vector<float>> scratch_;
};

template <class F> void Session::each(std::ptrdiff_t cost, F f) {
  constexpr std::ptrdiff_t kPiece = 16384; // floats that are worth waking another thread for
  const int n = count(), piece = static_cast<int>(std::max<std::ptrdiff_t>(1, kPiece / std::max<std::ptrdiff_t>(cost, 1)));
  if (n <= piece) {
    for (int i = 0; i < n; i++) f(i);
    return;
  }
  pool().run((n + piece - 1) / piece, [&](int item, int) {
    for (int i = item * piece; i < std::min(n, (item + 1) * piece); i++) f(i);
  });
}

} // namespace weft
