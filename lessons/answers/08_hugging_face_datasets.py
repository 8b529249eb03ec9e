# %% [markdown] rubric="data_card"
# - 0.5 points: says what the text is and where it comes from, and for what it should not be used.
# - 0.5 points: names what was removed, by which rule (filter, equal texts, near-duplicates with their threshold, personal data, leaks), and how much.
# - 0.5 points: says what was probably missed or wrongly removed, and why (forms that the finder does not know, copies below the threshold, paraphrases, code thrown out).
# - 0.5 points: three figures of the student's own run, each read in the right direction.
#
# Figures may differ from the model answer's; figures without a meaning for the user earn half of the last point.
