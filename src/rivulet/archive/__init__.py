"""Archives: thousands of hours to text, on every core of one machine or on many through Ray.

The path of the data, from left to right:

    inputs → `jobs` → `pool` or `on_ray` (`work` runs in their processes) → `recording` → DIR

`sources` lists and opens what is no local path, `parts` cuts long files, `progress` and `summary`
show how it goes, `index` finds words. Only the driver, the process that was started, writes to DIR:

    DIR/
      talks/2024/opening.flac.jsonl   one text an input: the path below the INPUT's own name, the
                                      sound's suffix kept, so that no two inputs share a text
      results.parquet                 one row an input; anew every few minutes and at the end
      errors.jsonl                    one line an input that failed, with the sentence
      summary.json, summary.png       of the last run
      index.sqlite                    for `rivulet search`
      .rivulet/ledger.sqlite          what is done, and the settings of all texts; held by one
                                      driver at a time
      .rivulet/spool/                 sound of long files while their parts are worked on

Exactly once: a text is written beside and renamed, then the index takes it, then the ledger
commits.
A kill in between does an input again and puts the same text in the same place.
"""
