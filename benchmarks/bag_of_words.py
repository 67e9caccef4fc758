"""A bag of words and logistic regression on a classification task: what a small Transformer has to beat.

    python benchmarks/bag_of_words.py TRAIN.tsv TEST.tsv [--source-column 1 --target-column 0]

Words and pairs of words, tf-idf, scikit-learn's defaults (which comes with pip install "weft[eval]").
"""

from __future__ import annotations

import argparse

from weft.data import read_pairs
from weft.metrics import accuracy


def main() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--source-column", type=int, default=1)
    parser.add_argument("--target-column", type=int, default=0)
    options = parser.parse_args()
    columns = options.source_column, options.target_column
    texts, labels = zip(*read_pairs(options.train, *columns), strict=True)
    tested, wanted = zip(*read_pairs(options.test, *columns), strict=True)
    for longest in (1, 2):
        model = make_pipeline(TfidfVectorizer(ngram_range=(1, longest), sublinear_tf=True, token_pattern=r"\S+"),
                              LogisticRegression(max_iter=1000, C=10.0 if longest == 2 else 1.0))
        model.fit(texts, labels)
        print(f"up to {longest} words: {accuracy(model.predict(tested).tolist(), wanted, confidence=True)}")


if __name__ == "__main__":
    main()
