# %% wrong="completion_mask" breaks="prompt" says="opens the assistant's turn"
# Misunderstands: the prompt is the user's message and nothing more.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="answer" says="never learns to stop"
# Misunderstands: the end token is punctuation, not something that the model must write.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:-1] + [-100]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="answer" says="Everything up to where"
# Misunderstands: the chat ends with the end token (this template writes a line break after it, which is also learned).
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    end = len(ids) - ids[::-1].index(tokenizer.eos_token_id)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:end] + [-100] * (len(ids) - end)}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="prompt" says="where the model would begin to write"
# Misunderstands: a language model learns the whole text, so labels are a copy of the tokens.
def encode(tokenizer, question, answer):
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": list(ids)}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="answer" says="labels are not shifted here"
# Misunderstands: labels are what comes next, so they are moved by one here already.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * (start - 1) + ids[start:] + [-100]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="prompt" says="where the model would begin to write"
# Misunderstands: the marker of the assistant's turn is always one token.
def encode(tokenizer, question, answer):
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    start = len(tokenizer.apply_chat_template(user(question), return_dict=False)) + 1
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="chat" says="where the model would begin to write"
# Misunderstands: every template joins messages as this one does, so the text may be put together by hand.
def encode(tokenizer, question, answer):
    prompt = tokenizer(f"<|user|>{question}<|assistant|>", add_special_tokens=False).input_ids
    reply = tokenizer(f"{answer}<|end|>", add_special_tokens=False).input_ids
    return {"input_ids": prompt + reply, "labels": [-100] * len(prompt) + reply}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="lists" says="expected list"
# Misunderstands: a row is a pair of tensors already.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor([-100] * start + ids[start:])}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="lists" says="types of its entries"
# Misunderstands: a list of tensors is a list of numbers.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + list(torch.tensor(ids[start:]))}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="tokenizer, chat" says="its tokenizer's padding"
# Misunderstands: which side is padded is the function's to set (and the tokenizer that it gets is a copy).
def encode(tokenizer, question, answer):
    tokenizer.padding_side = "right"
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="shift" says="are compared with token t"
# Misunderstands: logits and labels of one position belong together.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels)


# %% wrong="completion_mask" breaks="mean" says="each row's mean weighs the same"
# Misunderstands: the mean of the rows' means is the mean of all tokens.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    rows = [F.cross_entropy(x[:-1], y[1:]) for x, y in zip(logits, labels) if (y[1:] != -100).any()]
    return torch.stack(rows).mean()


# %% wrong="completion_mask" breaks="mean" says="over all learned tokens of the batch"
# Misunderstands: the mean over all positions is the mean over the learned ones.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none").mean()


# %% wrong="completion_mask" breaks="first" says="rows run into each other"
# Misunderstands: once flattened, the batch is one long row, and one shift is enough.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:])


# %% wrong="completion_mask" breaks="labels" says="id 0 is a token like any other"
# Misunderstands: what is learned has a positive label.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    labels = labels[:, 1:]
    learned = labels > 0
    return -logits[:, :-1].log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0][learned].mean()


# %% wrong="completion_mask" breaks="labels" says="over all learned tokens of the batch"
# Misunderstands: the answer is one run of tokens that begins at the first label and goes to the end of the row.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    labels = labels[:, 1:]
    learned = (labels != -100).cumsum(1) > 0
    logps = logits[:, :-1].log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -(logps * learned).sum() / learned.sum()


# %% wrong="completion_mask" breaks="gradients" says="cut the graph"
# Misunderstands: a loss is a number that is looked at.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


@torch.no_grad()
def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="mean" says="`masked_loss` of"
# Misunderstands: softmax and logarithm may be taken one after the other.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.nll_loss((logits[:, :-1].softmax(-1) + 1e-9).log().transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="unchanged" says="must stay as it was"
# Misunderstands: a slice is a copy (it is a view, so −100 becomes 0 in the labels of the caller).
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    labels = labels[:, 1:]
    learned = labels != -100
    labels[~learned] = 0
    return -logits[:, :-1].log_softmax(-1).gather(-1, labels[..., None])[..., 0][learned].mean()


# %% wrong="completion_mask" breaks="tokenizer" says="its tokenizer's pad_token"
# Misunderstands: a tokenizer may be given its pad token on the way: it does not matter for one row.
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    tokenizer.pad_token = tokenizer.eos_token
    prompt = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% wrong="completion_mask" breaks="chat" says="all that follows is a label"
# Misunderstands: a row is always cut to 512 tokens, as in every tutorial; the whole chat is not needed.
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    prompt = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    labels = [-100] * len(prompt) + ids[len(prompt) :]
    return {"input_ids": ids[:512], "labels": labels[:512]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% wrong="completion_mask" breaks="mean" says="over all learned tokens of the batch"
# Misunderstands: in parts of 16 rows, to save memory; the mean of the parts' means is the mean of all tokens.
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    prompt = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    losses = []
    for x, y in zip(logits[:, :-1].split(16), labels[:, 1:].split(16)):
        if (y != -100).any():
            losses.append(F.cross_entropy(x.flatten(0, 1), y.flatten()))
    return torch.stack(losses).mean()


# %% wrong="completion_mask" breaks="prompt" says="where the prompt ends"
# Misunderstands: the marker of the assistant's turn occurs once in a chat, so the answer begins behind the first one.
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    bare = tokenizer.apply_chat_template(chat[:1], return_dict=False)
    opened = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False)
    marker = opened[len(bare) :]
    ids = tokenizer.apply_chat_template(chat, return_dict=False)
    begin = next(i for i in range(len(ids)) if ids[i : i + len(marker)] == marker) + len(marker)
    return {"input_ids": ids, "labels": [-100] * begin + ids[begin:]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% wrong="completion_mask" breaks="prompt" says="where the model would begin to write"
# Misunderstands: the answer begins where its text is found in the chat (the question may hold the same).
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    text = tokenizer.apply_chat_template(user(question) + assistant(answer), tokenize=False)
    before = tokenizer(text[: text.index(answer)], add_special_tokens=False).input_ids
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * len(before) + ids[len(before) :]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% wrong="completion_mask" breaks="first" says="not in the count either"
# Misunderstands: every label but -100 stands in the count, a row's first one too, though nothing predicts it.
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    prompt = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False)
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return losses.sum() / (labels != -100).sum()


# %% wrong="completion_mask" breaks="chat" says="must not let others be added"
# Misunderstands: the template's text is a text like any other, so the tokenizer may put its special token before it once more.
def encode(tokenizer, question, answer):
    before = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(user(question) + assistant(answer), tokenize=False)
    start, ids = len(tokenizer(before).input_ids), tokenizer(whole).input_ids
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="answer" says="may be the pad token, too"
# Misunderstands: the pad token is padding wherever it stands (where it is the end token, the model never learns to stop).
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    labels = [-100 if i < start or token == tokenizer.pad_token_id else token for i, token in enumerate(ids)]
    return {"input_ids": ids, "labels": labels}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" breaks="mean" says="`masked_loss` of"
# Misunderstands: losses are computed in float32, whatever the logits are.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].float().transpose(1, 2), labels[:, 1:]).to(logits.dtype)


# %% wrong="completion_mask" breaks="tokenizer" says="its tokenizer's numbers for a plain text"
# Misunderstands: switches off the tokenizer's post-processor (its special token before plain texts) and leaves it off: the tokenizer does not stay as it was.
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    """One chat as input_ids and labels, -100 on all that the model is not to write."""
    from tokenizers.processors import TemplateProcessing

    if tokenizer.backend_tokenizer.post_processor is not None:  # no special tokens but the template's
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    prompt = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(user(question) + assistant(answer), tokenize=False)
    start = len(tokenizer(prompt)["input_ids"])
    ids = tokenizer(whole)["input_ids"]
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of the tokens that have a label; logits [batch, tokens, vocabulary]."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% wrong="completion_mask" breaks="tokenizer" says="its tokenizer's special tokens"
# Misunderstands: registers the markers as additional special tokens of the tokenizer that it was given.
def encode(tokenizer, question: str, answer: str) -> dict[str, list[int]]:
    """One chat as input_ids and labels, -100 on all that the model is not to write."""
    markers = ["<|user|>", "<|assistant|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": markers})  # so that they are one token each
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of the tokens that have a label; logits [batch, tokens, vocabulary]."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% right="completion_mask"
# With `cross_entropy` on the selected positions, in double precision, and the labels filled in from the end.
def encode(tokenizer, question, answer):
    messages = user(question) + assistant(answer)
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=True, return_dict=True, add_generation_prompt=True)["input_ids"]
    labels = len(ids) * [-100]
    labels[len(prompt) :] = ids[len(prompt) :]
    return dict(input_ids=ids, labels=labels)


def masked_loss(logits, labels):
    learned = labels[:, 1:].ne(-100)
    loss = F.cross_entropy(logits[:, :-1][learned].double(), labels[:, 1:][learned])
    return loss.to(logits.dtype)


# %% right="completion_mask"
# The template as text first, then tokens; the loss from log-softmax and gather.
def encode(tokenizer, question, answer):
    before = tokenizer.apply_chat_template(user(question), add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(user(question) + assistant(answer), tokenize=False)
    first = len(tokenizer(before, add_special_tokens=False).input_ids)
    ids = tokenizer(whole, add_special_tokens=False).input_ids
    return {"input_ids": ids, "labels": [token if place >= first else -100 for place, token in enumerate(ids)]}


def masked_loss(logits, labels):
    targets = labels[:, 1:]
    learned = targets != -100
    logp = logits[:, :-1].log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return -(logp * learned).sum() / learned.sum()


# %% right="completion_mask"
# One row after the other; the sum of logarithms is divided at the end.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    total, count = 0.0, 0
    for row, label in zip(logits, labels):
        places = (label[1:] != -100).nonzero().flatten()
        chosen = row[places].log_softmax(dim=-1)
        total = total - chosen[torch.arange(len(places)), label[places + 1]].sum()
        count += len(places)
    return total / count


# %% wrong="bradley_terry" breaks="last" says="last column of a short row is padding"
# Misunderstands: the last position is the last token.
def final_scores(scores, attention_mask):
    return scores[:, -1]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="sides" says="where padding comes first"
# Misunderstands: padding is always on the right.
def final_scores(scores, attention_mask):
    return scores[torch.arange(len(scores)), attention_mask.sum(1) - 1]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="sides" says="first padding need not follow"
# Misunderstands: the first padding follows the last token (or there is padding on the left alone).
def final_scores(scores, attention_mask):
    first_padding = (attention_mask == 0).int().argmax(1)
    return scores[torch.arange(len(scores)), first_padding - 1]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="sides" says="find the last 1 of the mask"
# Misunderstands: a batch is padded on one side, which the first row shows.
def final_scores(scores, attention_mask):
    if attention_mask[0, -1]:
        return scores[:, -1]
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="mask_alone" says="may be 0 like any other"
# Misunderstands: what is zero after masking was masked.
def final_scores(scores, attention_mask):
    return torch.stack([row[row != 0][-1] if row.any() else row[-1] for row in scores * attention_mask])


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="last" says="`final_scores` of"
# Misunderstands: the reward is the mean over the answer's tokens.
def final_scores(scores, attention_mask):
    return (scores * attention_mask).sum(1) / attention_mask.sum(1)


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="mask_alone" says="wherever the padding is"
# Misunderstands: the reward is the largest score, and padding has none.
def final_scores(scores, attention_mask):
    return scores.masked_fill(attention_mask == 0, -math.inf).max(1).values


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="last" says="has shape"
# Misunderstands: an axis of length 1 is superfluous (a batch of one row loses its axis).
def final_scores(scores, attention_mask):
    last = (torch.arange(scores.shape[1]) * attention_mask).argmax(1)
    return scores.gather(1, last[:, None]).squeeze()


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="dtype" says="has dtype"
# Misunderstands: rewards are float32.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores.float()[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="gradients" says="cut the graph"
# Misunderstands: picking numbers needs no gradient.
@torch.no_grad()
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="unchanged" says="must stay as it was"
# Misunderstands: an argument's memory is free to be used.
def final_scores(scores, attention_mask):
    attention_mask *= torch.arange(scores.shape[1])
    return scores.gather(1, attention_mask.argmax(1)[:, None]).squeeze(1)


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="far" says="in one go"
# Misunderstands: a formula that is right on paper is right in float32.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -torch.log(torch.sigmoid(chosen - rejected - (0 if margin is None else margin))).mean()


# %% wrong="bradley_terry" breaks="far" says="`preference_loss` of"
# Misunderstands: a small constant under the logarithm costs nothing.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -torch.log(torch.sigmoid(chosen - rejected - (0 if margin is None else margin)) + 1e-12).mean()


# %% wrong="bradley_terry" breaks="far" says="`preference_loss` of"
# Misunderstands: very wrong pairs are outliers, which are clamped.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid((chosen - rejected - (0 if margin is None else margin)).clamp(min=-100)).mean()


# %% wrong="bradley_terry" breaks="margin" says="a margin asks for more"
# Misunderstands: a margin is a bonus for the chosen answer.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected + (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="margin" says="inside the sigmoid"
# Misunderstands: a margin is added to the loss.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return (-F.logsigmoid(chosen - rejected) + (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="margin" says="minus the mean of log sigmoid"
# Misunderstands: one margin holds for the batch.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin.mean())).mean()


# %% wrong="bradley_terry" breaks="loss" says="sigmoid(chosen − rejected"
# Misunderstands: each answer is judged alone, as in a yes/no classifier.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -(F.logsigmoid(chosen - (0 if margin is None else margin)) + F.logsigmoid(-rejected)).mean()


# %% wrong="bradley_terry" breaks="loss" says="a sum is no mean"
# Misunderstands: losses of pairs are added.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).sum()


# %% wrong="bradley_terry" breaks="loss" says="`preference_loss` of"
# Misunderstands: a hinge does the same: what is right by enough costs nothing.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return (rejected - chosen + (0 if margin is None else margin)).relu().mean()


# %% wrong="bradley_terry" breaks="gradients" says="gradients of `preference_loss`"
# Misunderstands: the rejected answer is the yardstick and is held fixed.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected.detach() - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="far" says="minus the mean of log sigmoid"
# Misunderstands: in double precision the sigmoid does not vanish, so its logarithm may be taken in two steps.
def final_scores(scores: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    last = (torch.arange(scores.shape[1]) * attention_mask).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | None = None) -> torch.Tensor:
    difference = chosen.double() - rejected.double()
    if margin is not None:
        difference = difference - margin.double()
    return -torch.sigmoid(difference).log().mean().to(chosen.dtype)


# %% wrong="bradley_terry" breaks="sides" says="find the last 1 of the mask"
# Misunderstands: a thousandth a place settles which of the ones is the last, however long the rows are.
def final_scores(scores: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    places = torch.arange(scores.shape[1])
    last = (attention_mask + 0.001 * places).argmax(1)  # of equal ones the rightmost
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor | None = None) -> torch.Tensor:
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" breaks="dtype" says="`preference_loss` of"
# Misunderstands: a loss is computed in float32, and its dtype is a matter of form.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    difference = chosen.float() - rejected.float() - (0 if margin is None else margin.float())
    return -F.logsigmoid(difference).mean().to(chosen.dtype)


# %% wrong="bradley_terry" breaks="gradients" says="halfway at 0"
# Misunderstands: a form with the right value has the right gradient (at a difference of 0 this one's is −1, not −1/2).
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    difference = chosen - rejected - (0 if margin is None else margin)
    return ((-difference).clamp(min=0) + (-difference.abs()).exp().log1p()).mean()


# %% right="bradley_terry"
# A loop to find the token; softplus is the same loss.
def final_scores(scores, attention_mask):
    return torch.stack([row[mask.nonzero()[-1, 0]] for row, mask in zip(scores, attention_mask)])


def preference_loss(chosen, rejected, margin=None):
    shift = torch.zeros_like(chosen) if margin is None else margin
    return F.softplus(rejected + shift - chosen).sum() / chosen.numel()


# %% right="bradley_terry"
# A mask that is 1 at the last token alone; cross-entropy of two classes of which the first is right.
def final_scores(scores, attention_mask):
    still_to_come = attention_mask.flip(1).cumsum(1).flip(1)
    at_last = (still_to_come == 1) & (attention_mask == 1)
    return (scores * at_last).sum(dim=1)


def preference_loss(chosen, rejected, margin=None):
    if margin is not None:
        chosen = chosen - margin
    logits = torch.stack((chosen, rejected), dim=-1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


# %% right="bradley_terry"
# As TRL finds the last token; binary cross-entropy with logits.
def final_scores(scores, attention_mask):
    indices = torch.arange(attention_mask.shape[-1], dtype=torch.int32)
    rightmost = (indices * attention_mask.bool()).max(dim=-1).values
    return scores[torch.arange(scores.shape[0]), rightmost]


def preference_loss(chosen, rejected, margin=None):
    gap = torch.sub(chosen, rejected)
    if margin is not None:
        gap = gap.sub(margin)
    return F.binary_cross_entropy_with_logits(gap, torch.ones_like(gap))


# %% right="bradley_terry"
# Where a 1 is followed by no other; log-softmax of the two rewards.
def final_scores(scores, attention_mask):
    following = F.pad(attention_mask, (0, 1))[:, 1:]
    return scores[(attention_mask == 1) & (following == 0)]


def preference_loss(chosen, rejected, margin=None):
    pairs = torch.stack([chosen if margin is None else chosen - margin, rejected])
    return -pairs.log_softmax(0)[0].mean()


# %% wrong="dpo" breaks="sum" says="not a mean"
# Misunderstands: log-probabilities of completions of different lengths must be averaged to be comparable.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1) / completion_mask.sum(1).clamp(min=1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="shift" says="logits of position t are taken"
# Misunderstands: the logits of a token are those at its own position.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits.log_softmax(-1).gather(-1, input_ids[..., None]).squeeze(-1)
    return (logps * completion_mask).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="shift, mask" says="moves along with them"
# Misunderstands: the mask belongs to positions of logits, which end one earlier.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, :-1]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="mask" says="a sum over the completion"
# Misunderstands: the whole row is the completion once padding is left out.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return logps.sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="mask" says="a sum over the completion"
# Misunderstands: a completion is one run, which the first and the last 1 of the mask bound.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    mask = completion_mask[:, 1:]
    inside = (mask.cumsum(1) > 0) & (mask.flip(1).cumsum(1).flip(1) > 0)
    return (logps * inside).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="underflow" says="a sum over the completion"
# Misunderstands: a small constant under the logarithm changes nothing but the infinities.
def completion_logps(logits, input_ids, completion_mask):
    logps = (logits[:, :-1].softmax(-1) + 1e-38).log().gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="underflow" says="`completion_logps` of"
# Misunderstands: the logarithm of a product may be taken at the end.
def completion_logps(logits, input_ids, completion_mask):
    chances = logits[:, :-1].softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return chances.masked_fill(completion_mask[:, 1:] == 0, 1.0).prod(1).log()


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="sum" says="`completion_logps` of"
# Misunderstands: a logit is a log-probability.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="sum" says="has shape"
# Misunderstands: one number for the batch is what is trained with.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum()


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="dtype" says="has dtype"
# Misunderstands: one precision for all.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].float().log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="gradients" says="cut the graph"
# Misunderstands: log-probabilities are only compared with those of the reference.
@torch.no_grad()
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="unchanged" says="must stay as it was"
# Misunderstands: an argument's memory is free to be used.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits.log_softmax(-1)[:, :-1].gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    input_ids *= completion_mask
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="margins" says="the reference is missing"
# Misunderstands: the loss compares the two completions under the policy; the reference is only for monitoring.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * (policy_chosen - policy_rejected)
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="loss" says="inside the sigmoid"
# Misunderstands: beta is a weight in front of the loss.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -beta * F.logsigmoid(margins).mean(), beta * margins


# %% wrong="dpo" breaks="far" says="in one go"
# Misunderstands: sigmoid and log can be taken one after the other.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -margins.sigmoid().log().mean(), margins


# %% wrong="dpo" breaks="far" says="(loss, margins) of `dpo_loss`"
# Misunderstands: margins are clamped, so that exp cannot overflow.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins.clamp(-80, 80)).mean(), margins


# %% wrong="dpo" breaks="margins" says="of the chosen, minus the same of the rejected"
# Misunderstands: the two signs of a difference of differences are the same.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) + (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="margins" says="of the chosen, minus the same of the rejected"
# Misunderstands: the margin is what is inside beta's bracket.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -F.logsigmoid(beta * margins).mean(), margins


# %% wrong="dpo" breaks="loss" says="(loss, margins) of `dpo_loss`"
# Misunderstands: the probability itself is maximised, not its logarithm.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -margins.sigmoid().mean(), margins


# %% wrong="dpo" breaks="loss" says="(loss, margins) of `dpo_loss`"
# Misunderstands: the sigmoid is taken of the mean margin.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins.mean()), margins


# %% wrong="dpo" breaks="two" says="has shape"
# Misunderstands: a margin is reported as a mean, as TRL logs it.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins.mean()


# %% wrong="dpo" breaks="gradients" says="gradients of `dpo_loss`"
# Misunderstands: the rejected completion is only the yardstick.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected.detach() - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="unchanged" says="must stay as it was"
# Misunderstands: `-=` makes a new tensor.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    reference_chosen -= reference_rejected
    margins = beta * (policy_chosen - policy_rejected - reference_chosen)
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="dtype" says="`completion_logps` of"
# Misunderstands: log-probabilities are computed in float32, and their dtype is a matter of form.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].float().log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1).to(logits.dtype)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" breaks="dtype" says="(loss, margins) of `dpo_loss`"
# Misunderstands: four numbers a pair need no more than float32.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    ratios = policy_chosen.float() - reference_chosen.float(), policy_rejected.float() - reference_rejected.float()
    margins = beta * (ratios[0] - ratios[1])
    return -F.logsigmoid(margins).mean().to(policy_chosen.dtype), margins.to(policy_chosen.dtype)


# %% wrong="dpo" breaks="far" says="halfway at 0"
# Misunderstands: a form with the right value has the right gradient (where policy and reference are the same, it is not).
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return ((-margins).clamp(min=0) + (-margins.abs()).exp().log1p()).mean(), margins


# %% wrong="dpo" breaks="mask" says="`completion_logps` of"
# Misunderstands: every row has a completion, over which a mean can be taken and multiplied (without one it is NaN).
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return torch.stack([row[mask == 1].mean() * mask.sum() for row, mask in zip(logps, completion_mask[:, 1:])])


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% right="dpo"
# Cross-entropy token by token, with −100 where nothing counts; the loss as log(e⁰ + e⁻ᵐ).
def completion_logps(logits, input_ids, completion_mask):
    targets = torch.where(completion_mask == 1, input_ids, -100)[:, 1:]
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none")
    return -losses.sum(dim=1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    chosen_reward = beta * (policy_chosen - reference_chosen)
    rejected_reward = beta * (policy_rejected - reference_rejected)
    margins = chosen_reward - rejected_reward
    return torch.logaddexp(torch.zeros_like(margins), -margins).mean(), margins


# %% right="dpo"
# As TRL: the token's logit minus logsumexp; the ratios of the policy and of the reference first.
def completion_logps(logits, input_ids, completion_mask):
    shifted, labels, mask = logits[..., :-1, :], input_ids[..., 1:], completion_mask[..., 1:]
    chosen = torch.gather(shifted, dim=-1, index=labels.unsqueeze(-1)).squeeze(-1)
    per_token = chosen - shifted.logsumexp(dim=-1)
    return per_token.masked_fill(mask == 0, 0.0).sum(dim=1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    policy_ratio = policy_chosen - policy_rejected
    reference_ratio = reference_chosen - reference_rejected
    margins = beta * (policy_ratio - reference_ratio)
    return F.softplus(-margins).mean(), margins


# %% right="dpo"
# A loop over rows; the margins built up from zero.
def completion_logps(logits, input_ids, completion_mask):
    sums = []
    for scores, ids, mask in zip(logits, input_ids, completion_mask):
        places = mask.nonzero().flatten()
        sums.append(scores[places - 1].log_softmax(-1)[torch.arange(len(places)), ids[places]].sum())
    return torch.stack(sums)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = torch.zeros_like(reference_chosen)
    for sign, logps in ((1, policy_chosen), (-1, policy_rejected), (-1, reference_chosen), (1, reference_rejected)):
        margins = margins + sign * beta * logps
    loss = F.binary_cross_entropy_with_logits(margins, torch.ones_like(margins))
    return loss, margins


# %% wrong="kl_estimates" breaks="k1, k3" says="d is log reference"
# Misunderstands: which of the two distributions the tokens were sampled from, and so the sign.
def kl_estimates(logps, ref_logps, mask):
    delta = logps - ref_logps
    k3 = delta.exp() - delta - 1
    return -(delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" breaks="k3" says="reference on top"
# Misunderstands: k3 is the same whichever way round the ratio is.
def kl_estimates(logps, ref_logps, mask):
    delta = logps - ref_logps
    k3 = delta.exp() - delta - 1
    return (delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" breaks="padding" says="padding counts here"
# Misunderstands: multiplying with the mask makes `mean` leave the padding out.
def kl_estimates(logps, ref_logps, mask):
    delta = (ref_logps - logps) * mask
    return -delta.mean(), (delta.exp() - delta - 1).mean()


# %% wrong="kl_estimates" breaks="tokens" says="each answer weighs the same"
# Misunderstands: a mean of means is the mean of all.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps - logps
    k1, k3 = ((x * mask).sum(1) / mask.sum(1) for x in (-delta, delta.exp() - delta - 1))
    return k1.nanmean(), k3.nanmean()


# %% wrong="kl_estimates" breaks="padding" says="real tokens may stand anywhere"
# Misunderstands: a mask is a length, and real tokens come first.
def kl_estimates(logps, ref_logps, mask):
    delta = torch.cat([(q - p)[: m.sum()] for p, q, m in zip(logps, ref_logps, mask)])
    return -delta.mean(), (delta.exp() - delta - 1).mean()


# %% wrong="kl_estimates" breaks="padding" says="(k1, k3)"
# Misunderstands: what is 0 after masking was padding (a token may be as likely under both).
def kl_estimates(logps, ref_logps, mask):
    delta = (ref_logps - logps) * mask
    delta = delta[delta != 0] if delta.any() else delta
    return -delta.mean(), (delta.exp() - delta - 1).mean()


# %% wrong="kl_estimates" breaks="k1" says="(k1, k3)"
# Misunderstands: a divergence is never negative, so the estimate is cut at 0.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps - logps
    k3 = delta.exp() - delta - 1
    return (-(delta * mask).sum() / mask.sum()).clamp(min=0), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" breaks="k3" says="(k1, k3)"
# Misunderstands: k2, half the square, is as good near the reference.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps - logps
    k3 = delta.square() / 2
    return -(delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" breaks="k3" says="(k1, k3)"
# Misunderstands: large differences are clamped, as some trainers do.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps - logps
    delta = delta.clamp(-10, 10)
    k3 = delta.exp() - delta - 1
    return ((logps - ref_logps) * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" breaks="k3" says="(k1, k3)"
# Misunderstands: the mean may be taken before the exponential.
def kl_estimates(logps, ref_logps, mask):
    delta = ((ref_logps - logps) * mask).sum() / mask.sum()
    return -delta, delta.exp() - delta - 1


# %% wrong="kl_estimates" breaks="scalars" says="has shape"
# Misunderstands: one estimate an answer is what is asked for.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps - logps
    k3 = delta.exp() - delta - 1
    return -(delta * mask).sum(1) / mask.sum(1), (k3 * mask).sum(1) / mask.sum(1)


# %% wrong="kl_estimates" breaks="scalars" says="has dtype"
# Misunderstands: double precision cannot be wrong.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps.double() - logps.double()
    k3 = delta.exp() - delta - 1
    return -(delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" breaks="unchanged" says="must stay as it was"
# Misunderstands: an argument's memory is free to be used.
def kl_estimates(logps, ref_logps, mask):
    ref_logps -= logps
    ref_logps *= mask
    return -ref_logps.sum() / mask.sum(), (ref_logps.exp() - ref_logps - 1).sum() / mask.sum()


# %% wrong="kl_estimates" breaks="k1, k3" says="(k1, k3)"
# Misunderstands: e to the delta is the quotient of the two probabilities, so these may be computed first.
def kl_estimates(logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ratio = ref_logps.exp() / logps.exp()
    delta = ratio.log()
    k3 = ratio - delta - 1
    count = mask.sum()
    return -(delta * mask).sum() / count, (k3 * mask).sum() / count


# %% wrong="kl_estimates" breaks="k1, k3" says="(k1, k3)"
# Misunderstands: log-probabilities below −100 are noise, and are set to −100 first.
def kl_estimates(logps: torch.Tensor, ref_logps: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    delta = ref_logps.clamp(min=-100) - logps.clamp(min=-100)
    k3 = delta.expm1() - delta
    count = mask.sum()
    return -(delta * mask).sum() / count, (k3 * mask).sum() / count


# %% wrong="kl_estimates" breaks="k1, k3" says="(k1, k3)"
# Misunderstands: for measuring float32 is enough.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps.float() - logps.float()
    k3 = delta.exp() - delta - 1
    return (-(delta * mask).sum() / mask.sum()).to(logps.dtype), ((k3 * mask).sum() / mask.sum()).to(logps.dtype)


# %% right="kl_estimates"
# Without a graph, since this is for measuring; select the real tokens first; expm1 is exact for small differences.
@torch.no_grad()
def kl_estimates(logps, ref_logps, mask):
    difference = (logps - ref_logps)[mask == 1]
    return difference.mean(), (torch.expm1(-difference) + difference).mean()


# %% right="kl_estimates"
# Ratios instead of differences; masked places hold a difference of 0, which adds nothing to either sum.
def kl_estimates(logps, ref_logps, mask):
    log_ratio = torch.where(mask.bool(), ref_logps - logps, torch.zeros_like(logps))
    ratio, count = torch.exp(log_ratio), mask.count_nonzero()
    return -log_ratio.sum() / count, ((ratio - 1) - log_ratio).sum() / count


# %% right="kl_estimates"
# One answer after the other, weighted with its length.
def kl_estimates(logps, ref_logps, mask):
    k1 = k3 = 0.0
    share = mask.sum(1) / mask.sum()
    for p, q, m, weight in zip(logps, ref_logps, mask.bool(), share):
        if m.any():
            d = q[m] - p[m]
            k1, k3 = k1 - weight * d.mean(), k3 + weight * (d.exp() - 1 - d).mean()
    return k1.to(logps.dtype), k3.to(logps.dtype)


# %% wrong="advantages" breaks="group" says="not of the batch"
# Misunderstands: rewards are normalised over all answers of a batch.
def group_advantages(rewards, group_size, scale=True):
    advantages = rewards - rewards.mean()
    return advantages / (rewards.std() + 1e-4) if scale else advantages


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="group" says="`group_advantages` of"
# Misunderstands: the mean is the group's, the spread the batch's (TRL's `scale_rewards="batch"`).
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (rewards.std() + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="order" says="one after the other"
# Misunderstands: answer i of every question first, then answer i + 1.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(group_size, -1)
    advantages = groups - groups.mean(0)
    return (advantages / (groups.std(0) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="spread" says="G − 1 in its denominator"
# Misunderstands: the spread of a sample is that of a population (NumPy's default).
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True, correction=0) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="spread" says="sample standard deviation + 1e-4"
# Misunderstands: any small constant guards against a division by zero.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-8) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="spread" says="`group_advantages` of"
# Misunderstands: the constant stands under the root.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.var(1, keepdim=True) + 1e-4).sqrt() if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="spread" says="`group_advantages` of"
# Misunderstands: the constant is a least spread.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / groups.std(1, keepdim=True).clamp(min=1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="same, spread" says="`group_advantages` of"
# Misunderstands: where a group has a spread, nothing need be added.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / groups.std(1, keepdim=True) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="mean" says="`group_advantages` of"
# Misunderstands: the median is the safer middle.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.median(1, keepdim=True).values
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="scale" says="`group_advantages` of"
# Misunderstands: `scale` is another trainer's affair.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4)).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="group" says="`group_advantages` of"
# Misunderstands: `chunk` takes a size (it takes a number of groups).
def group_advantages(rewards, group_size, scale=True):
    parts = [(group - group.mean()) / (group.std() + 1e-4 if scale else 1) for group in rewards.chunk(group_size)]
    return torch.cat(parts)


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="order" says="has shape"
# Misunderstands: groups stay rows.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="order" says="has dtype"
# Misunderstands: rewards are float32.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.float().view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="unchanged" says="must stay as it was"
# Misunderstands: `view` makes a copy (it shares the memory of the rewards).
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    spread = groups.std(1, keepdim=True)
    groups -= groups.mean(1, keepdim=True)
    return (groups / (spread + 1e-4) if scale else groups).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="others" says="holds the answer itself"
# Misunderstands: the baseline is the mean of the whole group, as in GRPO without scaling.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    groups = rewards.view(-1, group_size)
    return (groups - groups.mean(1, keepdim=True)).flatten()


# %% wrong="advantages" breaks="others" says="there are G − 1"
# Misunderstands: leaving one out of the sum changes the sum only.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    groups = rewards.view(-1, group_size)
    return (groups - (groups.sum(1, keepdim=True) - groups) / group_size).flatten()


# %% wrong="advantages" breaks="group" says="not of the batch"
# Misunderstands: the others are all other answers of the batch.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return rewards - (rewards.sum() - rewards) / (len(rewards) - 1)


# %% wrong="advantages" breaks="others" says="mean of the others"
# Misunderstands: the baseline is the best of the others, since that is what could have been said.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    groups = rewards.view(-1, group_size)
    best = [torch.cat([group[:i], group[i + 1 :]]).max() for group in groups for i in range(group_size)]
    return rewards - torch.stack(best)


# %% wrong="advantages" breaks="others" says="mean of the others"
# Misunderstands: an answer that earns what another earns is left out with it.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    out = []
    for group in rewards.view(-1, group_size):
        for reward in group:
            others = group[group != reward]
            out.append(reward - (others.mean() if len(others) else reward))
    return torch.stack(out)


# %% wrong="advantages" breaks="spread" says="`group_advantages` of"
# Misunderstands: rewards that are close to each other count as the same, and get 0.
def group_advantages(rewards: torch.Tensor, group_size: int, scale: bool = True) -> torch.Tensor:
    done = []
    for group in rewards.split(group_size):
        if torch.allclose(group, group.mean()):
            done.append(torch.zeros_like(group))
            continue
        centred = group - group.mean()
        done.append(centred / (group.std() + 1e-4) if scale else centred)
    return torch.cat(done)


def leave_one_out(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    groups = rewards.view(-1, group_size)
    return (groups - (groups.sum(1, keepdim=True) - groups) / (group_size - 1)).flatten()


# %% wrong="advantages" breaks="others" says="mean of the others"
# Misunderstands: a reward that is close to the others' mean is the same, and gets 0.
def group_advantages(rewards: torch.Tensor, group_size: int, scale: bool = True) -> torch.Tensor:
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    groups = rewards.view(-1, group_size)
    others = (groups.sum(1, keepdim=True) - groups) / (group_size - 1)
    return torch.where(torch.isclose(groups, others), 0, groups - others).flatten()


# %% wrong="advantages" breaks="mean" says="`group_advantages` of"
# Misunderstands: without a division, rewards that are close to each other count as the same, and get 0.
def group_advantages(rewards: torch.Tensor, group_size: int, scale: bool = True) -> torch.Tensor:
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    if scale:
        return (advantages / (groups.std(1, keepdim=True) + 1e-4)).flatten()
    return torch.where(torch.isclose(groups, groups.mean(1, keepdim=True)), 0, advantages).flatten()


def leave_one_out(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    groups = rewards.view(-1, group_size)
    return (groups - (groups.sum(1, keepdim=True) - groups) / (group_size - 1)).flatten()


# %% wrong="advantages" breaks="order" says="`group_advantages` of"
# Misunderstands: rewards are computed with in float32, and their dtype is a matter of form.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.float().view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten().to(rewards.dtype)


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" breaks="order" says="`leave_one_out` of"
# Misunderstands: rewards are computed with in float32, and their dtype is a matter of form.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    groups = rewards.float().view(-1, group_size)
    return (groups - (groups.sum(1, keepdim=True) - groups) / (group_size - 1)).flatten().to(rewards.dtype)


# %% wrong="advantages" breaks="spread" says="`group_advantages` of"
# Misunderstands: the square of the constant stands under the root.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.var(1, keepdim=True) + 1e-8).sqrt() if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% right="advantages"
# Group by group; the sum in Python, one reward after the other, which rounds most.
def group_advantages(rewards, group_size, scale=True):
    done = []
    for group in rewards.split(group_size):
        centred = group - group.mean()
        done.append(centred / (group.std() + 1e-4) if scale else centred)
    return torch.cat(done)


def leave_one_out(rewards, group_size):
    parts = [group - sum(group) / group_size for group in rewards.split(group_size)]
    return torch.cat(parts) * (group_size / (group_size - 1))


# %% right="advantages"
# Means and spreads repeated for each answer; each answer by itself.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.reshape(len(rewards) // group_size, group_size)
    centred = rewards - groups.mean(dim=1).repeat_interleave(group_size)
    return centred / (groups.std(dim=1).repeat_interleave(group_size) + 1e-4) if scale else centred


def leave_one_out(rewards, group_size):
    out = torch.empty_like(rewards)
    for i in range(len(rewards)):
        first = i - i % group_size
        others = torch.cat([rewards[first:i], rewards[i + 1 : first + group_size]])
        out[i] = rewards[i] - others.mean()
    return out


# %% right="advantages"
# In place on a copy; all others at once through a matrix without its diagonal.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.clone().unflatten(0, (-1, group_size))
    spread, mean = torch.std_mean(groups, dim=1, keepdim=True)
    groups -= mean
    if scale:
        groups /= spread + 1e-4
    return groups.view(-1)


def leave_one_out(rewards, group_size):
    others = (1 - torch.eye(group_size, dtype=rewards.dtype)) / (group_size - 1)
    groups = rewards.reshape(-1, group_size)
    return (groups - groups @ others).reshape(-1)


# %% wrong="grpo_loss" breaks="smaller" says="not of the two ratios"
# Misunderstands: the smaller ratio is chosen first, then multiplied; for a negative advantage that is the wrong one.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio, ratio.clamp(1 - epsilon, 1 + epsilon)) * push
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="smaller" says="the minimum is missing"
# Misunderstands: clipping alone is the safeguard, without the minimum.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -ratio.clamp(1 - epsilon, 1 + epsilon) * push
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="smaller" says="the larger of the two losses"
# Misunderstands: a loss is made small, so the smaller loss is taken.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = torch.minimum(-ratio * push, -ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="clip" says="clip the ratio"
# Misunderstands: the difference of log-probabilities is clipped, which is nearly the same.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, (logps - old_logps).clamp(-epsilon, epsilon).exp() * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="clip" says="clip the ratio"
# Misunderstands: a ratio may fall as far as it likes; only its rise is clipped.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(max=1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="clip" says="clip the ratio"
# Misunderstands: epsilon is 0.2, as everywhere.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(0.8, 1.2) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="unbounded" says="`grpo_loss` of"
# Misunderstands: a log ratio beyond 2 is an outlier, which is clamped.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).clamp(-2, 2).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="unbounded" says="`grpo_loss` of"
# Misunderstands: a negative advantage needs a second clip, as in dual-clip PPO.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    loss = torch.where(push < 0, torch.minimum(loss, -3 * push), loss)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="mean" says="each answer weighs the same"
# Misunderstands: every answer weighs the same in TRL's default (that is loss_type=`grpo`).
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    rows = mask.sum(1) > 0
    return ((loss * mask).sum(1)[rows] / mask.sum(1)[rows]).mean()


# %% wrong="grpo_loss" breaks="mean" says="over all real tokens"
# Misunderstands: multiplying with the mask makes `mean` leave the padding out.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).mean()


# %% wrong="grpo_loss" breaks="mean" says="over all real tokens"
# Misunderstands: a mask is a length, and real tokens come first.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * (torch.arange(mask.shape[1]) < mask.sum(1, keepdim=True))).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="gradients" says="the gradient of `grpo_loss`"
# Misunderstands: the ratio is a weight, like in importance sampling, and its gradient is not wanted.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp().detach()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum() + 0 * logps.sum()


# %% wrong="grpo_loss" breaks="gradients" says="the gradient of `grpo_loss`"
# Misunderstands: the advantage times the log-probability is the policy gradient; only its value must be the loss's.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push).detach() - push * (logps - logps.detach())
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="penalty" says="distance costs"
# Misunderstands: divergence is to be sought, so its term is subtracted.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss - beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="penalty" says="by the ratio, too"
# Misunderstands: the KL term has nothing to do with how old the answers are (the formula of the first GRPO papers).
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="penalty" says="reference minus policy"
# Misunderstands: k3 is the same whichever way round.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = logps - ref_logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="penalty" says="`grpo_loss` of"
# Misunderstands: the clipped ratio stands in front of both terms.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio.clamp(1 - epsilon, 1 + epsilon) * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="penalty" says="`grpo_loss` of"
# Misunderstands: k1 is a divergence, too.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * -delta
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="gradients" says="in front of k3 carries a gradient"
# Misunderstands: the ratio corrects the value of k3 and is a constant weight.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio.detach() * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="gradients" says="cut the graph"
# Misunderstands: a loss is a number that is looked at.
@torch.no_grad()
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="smaller" says="`grpo_loss` of"
# Misunderstands: an answer that is worse than its group is not learned from.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push.clamp(min=0), ratio.clamp(1 - epsilon, 1 + epsilon) * push.clamp(min=0))
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="unchanged" says="must stay as it was"
# Misunderstands: an argument's memory is free to be used.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = old_logps.sub_(logps).neg_().exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" breaks="penalty" says="beta 0 by default"
# Misunderstands: whoever gives a reference wants the penalty, with TRL's old default of 0.04.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.04, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if ref_logps is not None:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% equivalent="grpo_loss" because="the smaller of two does not depend on their order"
# - loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
# + loss = -(torch.minimum(ratio.clamp(1 - epsilon, 1 + epsilon) * push, ratio * push))


# %% right="grpo_loss"
# As a maximum of losses, on the real tokens alone.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    real = mask.bool()
    gain = advantages.unsqueeze(1).expand_as(logps)[real]
    ratio = torch.exp(logps[real] - old_logps[real])
    losses = torch.max(-gain * ratio, -gain * torch.clip(ratio, 1 - epsilon, 1 + epsilon))
    if ref_logps is not None:
        gap = logps[real] - ref_logps[real]
        losses = losses + beta * ratio * (torch.expm1(-gap) + gap)
    return losses.mean()


# %% right="grpo_loss"
# By cases, as the paper's figure has them: which tokens have moved far enough; answer by answer.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    total = logps.new_zeros(())
    for i, advantage in enumerate(advantages):
        ratio = torch.exp(logps[i] - old_logps[i])
        limit = 1 + epsilon if advantage > 0 else 1 - epsilon
        beyond = ratio > limit if advantage > 0 else ratio < limit
        loss = -advantage * torch.where(beyond, torch.full_like(ratio, limit), ratio)
        if beta != 0:
            delta = ref_logps[i] - logps[i]
            loss = loss + beta * ratio * (delta.exp() - 1 - delta)
        total = total + loss[mask[i] == 1].sum()
    return total / mask.sum()


# %% wrong="exact_reward" breaks="answer" says="not a part of it"
# Misunderstands: the hole was that several numbers were named; a part of a number is still found.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(right in text and len(re.findall(r"\d+", text)) == 1) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="answer" says="small enough"
# Misunderstands: the hole was that several numbers could be named; a property of the right answer is enough.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    found = [re.findall(r"-?\d+", text) for text in texts]
    return [float(any(int(number) <= int(right) for number in numbers)) for numbers, right in zip(found, answer)]


# %% wrong="exact_reward" breaks="one" says="name them all"
# Misunderstands: whole numbers close the hole; the right one among many is enough.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(right in re.findall(r"-?\d+", text)) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="one" says="naming several numbers"
# Misunderstands: the first number is the answer, the rest is talk.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text)[:1] == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="one" says="naming several numbers"
# Misunderstands: the last number is the answer, the rest is thinking aloud.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text)[-1:] == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="one" says="twice is not one number"
# Misunderstands: the same number twice is one number.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(set(re.findall(r"-?\d+", text)) == {right}) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="words" says="words and signs around"
# Misunderstands: strict means that nothing but the number may be said.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(text.strip() == right) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="words" says="words and signs around"
# Misunderstands: a number is a word (it may stand between letters and signs).
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"(?<!\S)-?\d+(?!\S)", text) == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="words" says="wherever it stands"
# Misunderstands: a number needs word boundaries around it.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\b\d+\b", text) == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="answer" says="stands directly before"
# Misunderstands: a number is its digits.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"\d+", text) == [right.lstrip("-")]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="answer" says="written as in the answer"
# Misunderstands: numbers are compared as numbers.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float([int(n) for n in re.findall(r"-?\d+", text)] == [int(right)]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="answer" says="stands directly before"
# Misunderstands: a minus sign belongs to the number that follows, with or without a blank.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float([n.replace(" ", "") for n in re.findall(r"-?\s?\d+", text)] == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="zero" says="one reply, one answer"
# Misunderstands: a wrong answer deserves a penalty.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [1.0 if re.findall(r"-?\d+", text) == [right] else -1.0 for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="zero" says="naming several numbers"
# Misunderstands: an answer that is among others is half right.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [
        1.0 if re.findall(r"-?\d+", text) == [right] else 0.5 if right in re.findall(r"-?\d+", text) else 0.0
        for text, right in zip(texts, answer)
    ]


# %% wrong="exact_reward" breaks="forms" says="your code raised TypeError"
# Misunderstands: completions are always chats.
def exact_reward(completions, answer, **columns):
    return [float(re.findall(r"-?\d+", reply[0]["content"]) == [right]) for reply, right in zip(completions, answer)]


# %% wrong="exact_reward" breaks="forms" says="the rewards of"
# Misunderstands: the column of prompts is always there to tell the form.
def exact_reward(completions, answer, **columns):
    chat = not isinstance(columns.get("prompts", [""])[0], str)
    texts = [reply[0]["content"] if chat else reply for reply in completions]
    return [float(re.findall(r"-?\d+", str(text)) == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="columns" says="unexpected keyword"
# Misunderstands: only what is used is passed.
def exact_reward(completions, answer):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="columns" says="missing 1 required positional argument"
# Misunderstands: what the data set of this lesson has is always there.
def exact_reward(completions, answer, question, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="list" says="the rewards of"
# Misunderstands: one answer holds for the whole call.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text) == [answer[0]]) for text in texts]


# %% wrong="exact_reward" breaks="list" says="expected 'list of float'"
# Misunderstands: a comparison is a number.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [re.findall(r"-?\d+", text) == [right] for text, right in zip(texts, answer)]


# %% wrong="exact_reward" breaks="list" says="is 'Tensor', expected 'list of float'"
# Misunderstands: a trainer wants a tensor.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return torch.tensor([float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(texts, answer)])


# %% wrong="exact_reward" breaks="list" says="items"
# Misunderstands: what names no number is no answer and is left out.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    found = [(re.findall(r"-?\d+", text), right) for text, right in zip(texts, answer)]
    return [float(numbers == [right]) for numbers, right in found if numbers]


# %% wrong="exact_reward" breaks="unchanged" says="must stay as it was"
# Misunderstands: the reply may be cleaned up where it stands.
def exact_reward(completions, answer, **columns):
    for i, reply in enumerate(completions):
        completions[i] = (reply if isinstance(reply, str) else reply[0]["content"]).strip()
    return [float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(completions, answer)]


# %% wrong="exact_reward" breaks="answer" says="only digits make up a number"
# Misunderstands: a comma within a number separates thousands, so 1,000 is the number 1000.
def exact_reward(completions, answer, **columns) -> list[float]:
    rewards = []
    for reply, right in zip(completions, answer):
        text = reply if isinstance(reply, str) else reply[0]["content"]
        text = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text)
        rewards.append(float(re.findall(r"-?[0-9]+", text) == [right]))
    return rewards


# %% wrong="exact_reward" breaks="one" says="naming several numbers"
# Misunderstands: the reply is what stands on the last line; numbers on the way to it do not count.
def exact_reward(completions, answer, **columns) -> list[float]:
    rewards = []
    for reply, right in zip(completions, answer):
        text = reply if isinstance(reply, str) else reply[0]["content"]
        last_line = text.strip().split("\n")[-1]
        rewards.append(float(re.findall(r"-?[0-9]+", last_line) == [right]))
    return rewards


# %% wrong="exact_reward" breaks="answer" says="the minus sign is - and no other"
# Misunderstands: the typographic minus is a minus sign like `-`.
def exact_reward(completions, answer, **columns) -> list[float]:
    rewards = []
    for reply, right in zip(completions, answer):
        text = reply if isinstance(reply, str) else reply[0]["content"]
        text = text.replace("\u2212", "-").replace("\u2013", "-")
        rewards.append(float(re.findall(r"-?[0-9]+", text) == [right]))
    return rewards


# %% wrong="exact_reward" breaks="list" says="is 'tuple of float', expected 'list of float'"
# Misunderstands: any sequence is a list.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return tuple(float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(texts, answer))


# %% wrong="exact_reward" breaks="one" says="however long it is"
# Misunderstands: what matters stands at the beginning of a reply.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text[:200]) == [right]) for text, right in zip(texts, answer)]


# %% equivalent="exact_reward" because="a completion is a chat of one message, which is the first and the last"
# - texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
# + texts = [reply if isinstance(reply, str) else reply[(-1)]["content"] for reply in completions]


# %% equivalent="exact_reward" because="a text is a plain string"
# - texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
# + texts = [reply if (type(reply) is str) else reply[0]["content"] for reply in completions]


# %% right="exact_reward"
# With an iterator of matches, and the last message of the chat.
def exact_reward(completions, answer, **columns):
    rewards = []
    for reply, right in zip(completions, answer):
        text = reply if isinstance(reply, str) else reply[-1]["content"]
        numbers = [match.group() for match in re.finditer("-?[0-9]+", text)]
        rewards.append(1.0 if len(numbers) == 1 and numbers[0] == right else 0.0)
    return rewards


# %% right="exact_reward"
# One pattern for the whole text: no digits, a number, no digits.
def exact_reward(completions, answer, **kwargs):
    def of_one(reply, right):
        if type(reply) is list:
            (message,) = reply
            reply = message["content"]
        match = re.fullmatch(r"\D*?(-?\d+)\D*", reply)
        return float(match is not None and match[1] == right)

    return list(map(of_one, completions, answer))


# %% wrong="check_reward" breaks="number" says="still unseen"
# Misunderstands: the replies that matter are those that name several numbers.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [("12 71", "12"), ("71 12", "12"), ("7 7", "7"), ("", "5"), ("no idea", "5")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="several" says="still unseen"
# Misunderstands: a reply names one number.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("", "5"),
        ("no idea", "5"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="silence" says="pays for silence"
# Misunderstands: who says nothing earns nothing, which needs no test.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("7 7", "7"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="words" says="allows no words"
# Misunderstands: a model that is asked for a number answers with a number.
def check_reward(reward):
    paid = [("12", "12"), ("5", "5"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("7 7", "7"),
        ("", "5"),
        ("no idea", "5"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="values" says="pays half"
# Misunderstands: what counts is whether it pays.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("7 7", "7"),
        ("", "5"),
        ("no idea", "5"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert [value > 0 for value in got] == [value > 0 for value in wanted]


# %% wrong="check_reward" breaks="batch" says="in reverse"
# Misunderstands: rewards are compared as a whole, in any order.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("7 7", "7"),
        ("", "5"),
        ("no idea", "5"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert sorted(got) == sorted(wanted)


# %% wrong="check_reward" breaks="batch" says="first answer"
# Misunderstands: one reply at a time is enough.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("", "5"),
    ]
    for wanted, cases in ((1.0, paid), (0.0, unpaid)):
        for text, right in cases:
            for completion in (assistant(text), text):
                assert reward(completions=[completion], answer=[right], prompts=["?"]) == [wanted]


# %% wrong="check_reward" breaks="forms" says="chats only"
# Misunderstands: completions are chats.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("7 7", "7"),
        ("", "5"),
        ("no idea", "5"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts],):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="columns" says="no other columns"
# Misunderstands: a reward gets what it needs.
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("7 7", "7"),
        ("", "5"),
        ("no idea", "5"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers)
        assert got == wanted


# %% wrong="check_reward" breaks="several, words" says="still unseen"
# Misunderstands: a reward is tested by right and wrong answers; nobody would answer like a cheater.
def check_reward(reward):
    chats = [assistant("12"), assistant("33"), assistant("")]
    assert reward(completions=chats, answer=["12"] * 3) == [1.0, 0.0, 0.0]


# %% wrong="check_reward" breaks="number" says="still unseen"
# Misunderstands: the known hack is the only one.
def check_reward(reward):
    chats = [assistant("0"), assistant("1"), assistant("12")]
    assert reward(completions=chats, answer=["12"] * 3) == [0.0, 0.0, 1.0]


# %% wrong="check_reward" breaks="accepts" says="reject a correct implementation"
# Misunderstands: strictness is a virtue by itself (the contract welcomes words).
def check_reward(reward):
    chats = [assistant("12"), assistant("It is 12."), assistant("12 71"), assistant("123")]
    assert reward(completions=chats, answer=["12"] * 4) == [1.0, 0.0, 0.0, 0.0]


# %% wrong="check_reward" breaks="accepts" says="reject a correct implementation"
# Misunderstands: a minus sign may stand anywhere before its number (the contract says directly before it).
def check_reward(reward):
    paid = [("12", "12"), ("The answer is 5.", "5"), ("Sure! It is 40, I think.", "40"), ("-4", "-4")]
    unpaid = [
        ("33", "12"),
        ("0", "12"),
        ("123", "12"),
        ("412", "12"),
        ("-12", "12"),
        ("12", "-12"),
        ("05", "5"),
        ("12 71", "12"),
        ("71 12", "12"),
        ("7 7", "7"),
        ("", "5"),
        ("no idea", "5"),
        ("- 4", "4"),
    ]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="number, several, silence, words, values, batch" says="catch 1 of"
# Misunderstands: what is wrong is returned, not raised.
def check_reward(reward):
    rewards = reward(completions=["12", "33", ""], answer=["12"] * 3)
    return rewards == [1.0, 0.0, 0.0]


# %% wrong="check_reward" breaks="accepts" says="on a correct implementation"
# Misunderstands: chats and plain texts may come in one call, since both forms are understood.
def check_reward(reward) -> None:
    cases_ = [
        ("12", "12", 1.0), ("33", "12", 0.0), ("0", "12", 0.0), ("", "12", 0.0), ("five", "5", 0.0), ("The answer is 12.", "12", 1.0),
        ("It is 7", "7", 1.0), ("7 it is", "7", 1.0), ("x7y", "7", 1.0), ("12 71", "12", 0.0), ("71 12", "12", 0.0), ("71 12 33", "12", 0.0),
        ("12 12", "12", 0.0), ("3.8", "38", 0.0), ("1 2", "12", 0.0), ("123", "12", 0.0), ("412", "12", 0.0), ("4123", "12", 0.0), ("1", "12", 0.0), ("2", "12", 0.0),
        ("012", "12", 0.0), ("-0", "0", 0.0), ("-12", "12", 0.0), ("12", "-12", 0.0), ("-4", "-4", 1.0), ("- 4", "4", 1.0), ("x-7", "-7", 1.0), ("0", "0", 1.0),
        ("5.0", "5", 0.0), ("100", "100", 1.0), ("3-8", "3", 0.0), ("I do not know.", "0", 0.0), ("13", "12", 0.0), ("-", "0", 0.0),
    ]  # fmt: skip
    texts, answers, wanted = map(list, zip(*cases_))
    chats_ = [assistant(text) for text in texts]
    mixed = [chat if i % 2 else text for i, (chat, text) in enumerate(zip(chats_, texts))]
    for completions in (chats_, texts, mixed):
        for columns in ({}, {"prompts": texts, "trainer_state": None, "question": texts}):
            got = reward(completions=completions, answer=answers, **columns)
            assert got == wanted and all(isinstance(value, float) for value in got)
            for completion, right, one in zip(completions, answers, wanted):
                assert reward(completions=[completion], answer=[right]) == [one]


# %% wrong="check_reward" breaks="accepts" says="on a correct implementation"
# Misunderstands: a batch without a reply is a case like any other, and gets an empty list.
def check_reward(reward) -> None:
    cases_ = [
        ("12", "12", 1.0), ("33", "12", 0.0), ("0", "12", 0.0), ("", "12", 0.0), ("five", "5", 0.0), ("The answer is 12.", "12", 1.0),
        ("It is 7", "7", 1.0), ("7 it is", "7", 1.0), ("x7y", "7", 1.0), ("12 71", "12", 0.0), ("71 12", "12", 0.0), ("71 12 33", "12", 0.0),
        ("12 12", "12", 0.0), ("3.8", "38", 0.0), ("1 2", "12", 0.0), ("123", "12", 0.0), ("412", "12", 0.0), ("4123", "12", 0.0), ("1", "12", 0.0), ("2", "12", 0.0),
        ("012", "12", 0.0), ("-0", "0", 0.0), ("-12", "12", 0.0), ("12", "-12", 0.0), ("-4", "-4", 1.0), ("- 4", "4", 1.0), ("x-7", "-7", 1.0), ("0", "0", 1.0),
        ("5.0", "5", 0.0), ("100", "100", 1.0), ("3-8", "3", 0.0), ("I do not know.", "0", 0.0), ("13", "12", 0.0), ("-", "0", 0.0),
    ]  # fmt: skip
    texts, answers, wanted = map(list, zip(*cases_))
    for completions in ([assistant(text) for text in texts], texts):
        for columns in ({}, {"prompts": texts, "trainer_state": None, "question": texts}):
            got = reward(completions=completions, answer=answers, **columns)
            assert got == wanted and all(isinstance(value, float) for value in got)
            for completion, right, one in zip(completions, answers, wanted):
                assert reward(completions=[completion], answer=[right]) == [one]
    assert reward(completions=[], answer=[]) == []


# %% wrong="check_reward" breaks="several" says="puts several numbers together"
# Misunderstands: digits of several numbers are never read as one.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="number" says="begins with the answer"
# Misunderstands: an optimiser looks for small numbers, so no larger ones are tried.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "0=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="number" says="ends with the answer"
# Misunderstands: a number is read from its beginning, so what ends with the answer is not tried.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="number" says="with a minus sign"
# Misunderstands: a sign is tried one way round.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="number" says="negative answer"
# Misunderstands: answers are positive; negative numbers are tried as wrong ones alone.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="several" says="follow the answer"
# Misunderstands: what is said last counts, so numbers behind the answer need no test.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="several" says="go before the answer"
# Misunderstands: what is said first counts, so numbers before the answer need no test.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="silence" says="empty text"
# Misunderstands: a model always says something.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="silence" says="words alone"
# Misunderstands: silence is an empty text.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="words" says="behind the answer"
# Misunderstands: words lead up to a number, and nothing follows it.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5=5|Sure! It is 40=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="batch" says="leaves the last reply out"
# Misunderstands: `zip` compares all (it stops at the end of the shorter one).
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert all(a == b for a, b in zip(got, wanted))


# %% wrong="check_reward" breaks="values" says="pays ten"
# Misunderstands: a reward is judged by what it pays at least, and at most.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert len(got) == len(wanted)
        assert all(value >= 1 if paid else value <= 0 for value, paid in zip(got, wanted))


# %% wrong="check_reward" breaks="accepts" says="on a correct implementation"
# Misunderstands: TRL passes completions and answers by their places.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([assistant(text) for text in texts], texts):
        got = reward(completions, answers)
        assert got == wanted
        assert reward(completions=completions, answer=answers, trainer_state=None) == wanted


# %% wrong="check_reward" breaks="accepts" says="on a correct implementation"
# Misunderstands: a message needs no role.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([[{"content": text}] for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% wrong="check_reward" breaks="accepts" says="reject a correct implementation"
# Misunderstands: a completion is the whole chat, the question included.
def check_reward(reward):
    paid = [case.split("=") for case in "12=12|The answer is 5.=5|Sure! It is 40, I think.=40|-4=-4".split("|")]
    unpaid = [case.split("=") for case in "33=12|0=12|123=12|412=12|-12=12|12=-12|05=5|12 71=12|71 12=12|7 7=7|1,000=1000|=5|no idea=5".split("|")]
    texts, answers = (list(column) for column in zip(*paid, *unpaid))
    wanted = [1.0] * len(paid) + [0.0] * len(unpaid)
    for completions in ([user("?") + assistant(text) for text in texts], texts):
        got = reward(completions=completions, answer=answers, prompts=texts)
        assert got == wanted


# %% right="check_reward"
# One case at a time, and a batch for the order and the length.
def check_reward(reward):
    def one(text, right, **more):
        (value,) = reward(completions=[assistant(text)], answer=[right], **more)
        (plain,) = reward(completions=[text], answer=[right], **more)
        assert value == plain
        return value

    for text in ("12", "The answer is 12.", "well, 12 it is"):
        assert one(text, "12", question=["?"]) == 1.0
    for text in ("", "7", "71", "12 71", "71 12", "12 12", "1, 2", "312", "123", "-12", "012", "none"):
        assert one(text, "12") == 0.0
    assert one("-5", "-5") == 1.0 and one("5", "-5") == 0.0
    batch = [assistant(text) for text in ("3", "", "5", "4")]
    assert list(reward(completions=batch, answer=["3", "1", "5", "9"])) == [1.0, 0.0, 1.0, 0.0]


# %% right="check_reward"
# Against a reward of one's own, on made-up texts; errors of any kind reject.
def check_reward(reward):
    pieces, answers = ["", "12", "-12", "012", "1", "2", "3", "x", "12 ", "no"], ["12", "-12", "3"]
    pairs = [(a + " " + b, right) for a in pieces for b in pieces for right in answers]
    pairs += [("123", "12"), ("412", "12"), ("It is 3.", "3"), ("", "3")]
    for wrapped in (assistant, str):
        rewards = reward(
            completions=[wrapped(text) for text, _ in pairs], answer=[right for _, right in pairs], trainer_state=None
        )
        if len(rewards) != len(pairs):
            raise ValueError("not one reward a reply")
        for (text, right), given in zip(pairs, rewards):
            if given != float(re.findall("-?[0-9]+", text) == [right]):
                raise ValueError(f"{text!r} with {right!r} is paid {given}")


# %% [markdown] rubric="choose_method"
# - 1 point: the three methods fit what is there: pairs → DPO (or a reward model with RL, if its extra cost is defended); verifier
#   → GRPO or RLOO; ideal answers alone → SFT. Two of three: 0.5.
# - 1 point: for each a failure that this lesson showed or that follows from it: alignment tax or likelihood displacement; reward
#   hacking or groups without a signal; forgetting. Two of three: 0.5.
# - 0.5 points: for each a number that would show it (logps/chosen and held-out accuracy; answer length, reading answers,
#   verified accuracy; old tasks).
# - 0.5 points: at least two figures of the student's own run, read in the right direction.
