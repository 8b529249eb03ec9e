# %% wrong="answer" breaks="template" says="without its chat template"
# Misunderstands: a chat model reads the question as it is.
def answer(model, tokenizer, question, limit):
    inputs = tokenizer(question, return_tensors="pt", add_special_tokens=False)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="template" says="the mark of the assistant's turn is missing"
# Misunderstands: the template ends where the question ends.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="template" says="the question alone in the chat template"
# Misunderstands: a word to the model beside the question does no harm.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "system", "content": "Be friendly."}, {"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="limit" says="`answer` to"
# Misunderstands: the limit is for prompt and reply together.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=max(1, limit - inputs["input_ids"].shape[1]))
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="limit" says="the limit counts what the model writes"
# Misunderstands: the model ends by itself, so the limit may stay at its default.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="greedy" says="greedy draws none"
# Misunderstands: a fixed seed makes drawing the same as taking the best.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    torch.manual_seed(0)
    output = model.generate(**inputs, do_sample=True, temperature=1.5, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="greedy" says="greedy draws none"
# Misunderstands: a temperature near 0 is the same as taking the best.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=True, temperature=1e-4, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="template" says="`answer` to"
# Misunderstands: tidying the question up does no harm.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": " ".join(question.split())}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="answer" breaks="limit" says="it goes on after"
# Misunderstands: the model writes as many tokens as it may.
@torch.no_grad()
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
    start = ids.shape[1]
    for _ in range(limit):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return tokenizer.decode(ids[0, start:], skip_special_tokens=True)


# %% wrong="answer" breaks="reply" says="cut the tokens of the prompt off"
# Misunderstands: `generate` returns what it wrote.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0], skip_special_tokens=True)


# %% wrong="answer" breaks="special" says="special tokens are text"
# Misunderstands: `decode` leaves the marks of the conversation out.
def answer(model, tokenizer, question, limit):
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])


# %% wrong="answer" breaks="template" says="blanks and line ends around the question count"
# Misunderstands: blanks around a question carry no meaning.
def answer(model, tokenizer, question: str, limit: int) -> str:
    chat = [{"role": "user", "content": question.strip()}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=limit)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% right="answer"
# The template as text first, tokens after it.
def answer(model, tokenizer, question, limit):
    text = tokenizer.apply_chat_template([dict(role="user", content=question)], tokenize=False, add_generation_prompt=True)
    batch = tokenizer([text], return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        written = model.generate(input_ids=batch.input_ids, attention_mask=batch.attention_mask, num_beams=1, do_sample=False, max_new_tokens=limit)
    return tokenizer.batch_decode(written[:, batch.input_ids.size(1) :], skip_special_tokens=True)[0]


# %% right="answer"
# A loop of one's own, with argmax.
@torch.no_grad()
def answer(model, tokenizer, question, limit):
    ids = tokenizer.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True)["input_ids"]
    reply = []
    while len(reply) < limit:
        scores = model(torch.tensor([ids + reply])).logits[0, -1]
        best = int(scores.argmax())
        if best == tokenizer.eos_token_id:
            break
        reply.append(best)
    return tokenizer.decode(reply, skip_special_tokens=True)


# %% equivalent="answer" because="the model is given one text, so the first row is the last"
# - return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
# + return tokenizer.decode(output[(-1), inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# %% wrong="training_hours" breaks="step" says="the backward pass is missing"
# Misunderstands: a step takes one forward pass.
def training_hours(examples, epochs, batch, forward_seconds):
    return epochs * math.ceil(examples / batch) * forward_seconds / 3600


# %% wrong="training_hours" breaks="step" says="three in all"
# Misunderstands: backward takes as long as forward.
def training_hours(examples, epochs, batch, forward_seconds):
    return epochs * math.ceil(examples / batch) * 2 * forward_seconds / 3600


# %% wrong="training_hours" breaks="last" says="is a batch, too"
# Misunderstands: only whole batches are trained on.
def training_hours(examples, epochs, batch, forward_seconds):
    return epochs * (examples // batch) * 3 * forward_seconds / 3600


# %% wrong="training_hours" breaks="last" says="takes as long as a whole one"
# Misunderstands: a smaller batch takes less time.
def training_hours(examples, epochs, batch, forward_seconds):
    return epochs * examples / batch * 3 * forward_seconds / 3600


# %% wrong="training_hours" breaks="last" says="each begins a new batch"
# Misunderstands: epochs run into each other.
def training_hours(examples, epochs, batch, forward_seconds):
    return math.ceil(epochs * examples / batch) * 3 * forward_seconds / 3600


# %% wrong="training_hours" breaks="last" says="batches of all epochs"
# Misunderstands: `// batch + 1` rounds up.
def training_hours(examples, epochs, batch, forward_seconds):
    return epochs * (examples // batch + 1) * 3 * forward_seconds / 3600


# %% wrong="training_hours" breaks="epochs" says="only one epoch"
# Misunderstands: the number of batches is that of the whole job.
def training_hours(examples, epochs, batch, forward_seconds):
    return math.ceil(examples / batch) * 3 * forward_seconds / 3600


# %% wrong="training_hours" breaks="hours" says="hours"
# Misunderstands: the result is in seconds, as the input is.
def training_hours(examples, epochs, batch, forward_seconds):
    return epochs * math.ceil(examples / batch) * 3 * forward_seconds


# %% wrong="training_hours" breaks="hours" says="batches of all epochs"
# Misunderstands: hours are planned in steps of a hundredth.
def training_hours(examples, epochs, batch, forward_seconds):
    return round(epochs * math.ceil(examples / batch) * 3 * forward_seconds / 3600, 2)


# %% right="training_hours"
# Whole numbers, counted epoch by epoch.
def training_hours(examples, epochs, batch, forward_seconds):
    steps = sum(len(range(0, examples, batch)) for _ in range(epochs))
    return forward_seconds * steps / 1200


# %% right="training_hours"
# NumPy, and divmod for the rest.
def training_hours(examples, epochs, batch, forward_seconds):
    whole, rest = divmod(examples, batch)
    batches = np.float64(whole + (rest > 0)) * epochs
    return float(batches * (forward_seconds + 2 * forward_seconds) / 60 / 60)


# %% wrong="memory_gib" breaks="inference" says="bytes by the table"
# Misunderstands: weights are kept in float32.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 4, "full": 16, "lora": 2, "qlora": 4.127 / 8}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (16 * adapter if "lora" in method else 0)) / 2**30


# %% wrong="memory_gib" breaks="inference" says="this method has no adapter"
# Misunderstands: an adapter is always counted.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 16, "lora": 2, "qlora": 4.127 / 8}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + 16 * adapter) / 2**30


# %% wrong="memory_gib" breaks="full" says="copy of the weights is missing"
# Misunderstands: the weights are there once.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 12, "lora": 2, "qlora": 4.127 / 8}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (12 * adapter if "lora" in method else 0)) / 2**30


# %% wrong="memory_gib" breaks="lora" says="the adapter is trained"
# Misunderstands: an adapter takes what its weights take.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 16, "lora": 2, "qlora": 4.127 / 8}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (2 * adapter if "lora" in method else 0)) / 2**30


# %% wrong="memory_gib" breaks="lora" says="bytes by the table"
# Misunderstands: the model's weights have gradients with LoRA, too.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 16, "lora": 4, "qlora": 4.127 / 8}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (16 * adapter if "lora" in method else 0)) / 2**30


# %% wrong="memory_gib" breaks="qlora" says="8 of them are a byte"
# Misunderstands: 4.127 are bytes.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 16, "lora": 2, "qlora": 4.127}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (16 * adapter if "lora" in method else 0)) / 2**30


# %% wrong="memory_gib" breaks="qlora" says="the scales of the blocks are missing"
# Misunderstands: four bits are four bits.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 16, "lora": 2, "qlora": 0.5}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (16 * adapter if "lora" in method else 0)) / 2**30


# %% wrong="memory_gib" breaks="gib" says="10**9"
# Misunderstands: a GiB is a billion bytes.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 16, "lora": 2, "qlora": 4.127 / 8}
    if method not in kept:
        raise ValueError(method)
    return (kept[method] * parameters + (16 * adapter if "lora" in method else 0)) / 10**9


# %% wrong="memory_gib" breaks="unknown" says="raised no error"
# Misunderstands: whatever is not one of three is the fourth.
def memory_gib(parameters, method, adapter=0):
    if method == "inference":
        return 2 * parameters / 2**30
    if method == "lora":
        return (2 * parameters + 16 * adapter) / 2**30
    if method == "qlora":
        return (4.127 / 8 * parameters + 16 * adapter) / 2**30
    return 16 * parameters / 2**30


# %% wrong="memory_gib" breaks="unknown" says="expected ValueError"
# Misunderstands: the error of a dictionary is as good.
def memory_gib(parameters, method, adapter=0):
    kept = {"inference": 2, "full": 16, "lora": 2, "qlora": 4.127 / 8}[method]
    return (kept * parameters + (16 * adapter if "lora" in method else 0)) / 2**30


# %% wrong="memory_gib" breaks="unknown" says="raised no error"
# Misunderstands: whatever has lora in its name is LoRA.
def memory_gib(parameters, method, adapter=0):
    if method == "inference":
        total = 2 * parameters
    elif method == "full":
        total = 16 * parameters
    elif method == "qlora":
        total = 4.127 / 8 * parameters + 16 * adapter
    elif "lora" in method:
        total = 2 * parameters + 16 * adapter
    else:
        raise ValueError(method)
    return total / 2**30


# %% wrong="memory_gib" breaks="unknown" says="expected ValueError"
# Misunderstands: blanks around a name do not make another one of it.
def memory_gib(parameters: int, method: str, adapter: int = 0) -> float:
    kept = {"inference": (2, 0), "full": (16, 0), "lora": (2, 16), "qlora": (4.127 / 8, 16)}
    if method.strip() not in kept:
        raise ValueError(method)
    model, beside = kept[method.strip()]
    return (model * parameters + beside * adapter) / 2**30


# %% right="memory_gib"
# A table of pairs.
def memory_gib(parameters, method, adapter=0):
    trained = 2 + 2 + 4 + 8
    table = {"inference": (2, 0), "full": (trained, 0), "lora": (2, trained), "qlora": (4.127 / 8, trained)}
    if method not in table:
        raise ValueError(f"{method!r} is none of {', '.join(table)}")
    model, beside = table[method]
    return (model * parameters + beside * adapter) / 1024**3


# %% right="memory_gib"
# match, and bits.
def memory_gib(parameters, method, adapter=0):
    match method:
        case "inference":
            bits, adapter = 16, 0
        case "full":
            bits, adapter = 128, 0
        case "lora":
            bits = 16
        case "qlora":
            bits = 4 + 0.127
        case _:
            raise ValueError("method must be inference, full, lora or qlora")
    return (bits * parameters + 128 * adapter) / 8 / 2**30


# %% wrong="predict" breaks="parameters" says="'parameters' over"
# Misunderstands: an embedding that is tied is there twice.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layer = config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    matrices = config.num_hidden_layers * layer + output
    return {"parameters": matrices + output, "bytes": 16 * (matrices + output), "operations": 6 * matrices * tokens}


# %% wrong="predict" breaks="parameters" says="'parameters' over"
# Misunderstands: keys and values have as many heads as queries.
def predict(config, tokens):
    heads = config.num_attention_heads * config.head_dim
    layer = config.hidden_size * (4 * heads + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    matrices = config.num_hidden_layers * layer + output
    parameters = matrices + (0 if config.tie_word_embeddings else output)
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * matrices * tokens}


# %% wrong="predict" breaks="parameters" says="'parameters' over"
# Misunderstands: the heads together are as wide as the model.
def predict(config, tokens):
    share = config.num_key_value_heads / config.num_attention_heads
    layer = config.hidden_size * (2 * config.hidden_size * (1 + share) + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    matrices = config.num_hidden_layers * layer + output
    parameters = matrices + (0 if config.tie_word_embeddings else output)
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * matrices * tokens}


# %% wrong="predict" breaks="parameters" says="'parameters' over"
# Misunderstands: a feed-forward block has two matrices.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layer = config.hidden_size * (2 * heads + 2 * groups + 2 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    matrices = config.num_hidden_layers * layer + output
    parameters = matrices + (0 if config.tie_word_embeddings else output)
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * matrices * tokens}


# %% wrong="predict" breaks="bytes" says="'bytes' over"
# Misunderstands: bytes are those of mixed precision, with weights of two bytes.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layer = config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    matrices = config.num_hidden_layers * layer + output
    parameters = matrices + (2 * config.num_hidden_layers + 1) * config.hidden_size + (0 if config.tie_word_embeddings else output)
    return {"parameters": parameters, "bytes": (2 + 2 + 8) * parameters, "operations": 6 * matrices * tokens}


# %% wrong="predict" breaks="bytes" says="'bytes' over"
# Misunderstands: AdamW keeps one average.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layer = config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    matrices = config.num_hidden_layers * layer + output
    parameters = matrices + (2 * config.num_hidden_layers + 1) * config.hidden_size + (0 if config.tie_word_embeddings else output)
    return {"parameters": parameters, "bytes": 3 * 4 * parameters, "operations": 6 * matrices * tokens}


# %% wrong="predict" breaks="operations" says="'operations' over"
# Misunderstands: every parameter is multiplied, those of the embedding too.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layer = config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    parameters = config.num_hidden_layers * layer + output + (0 if config.tie_word_embeddings else output)
    parameters += (2 * config.num_hidden_layers + 1) * config.hidden_size
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * parameters * tokens}


# %% wrong="predict" breaks="operations" says="'operations' over"
# Misunderstands: what is tied costs nothing.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layers = config.num_hidden_layers * config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    parameters = layers + (2 * config.num_hidden_layers + 1) * config.hidden_size + (1 if config.tie_word_embeddings else 2) * output
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * layers * tokens}


# %% wrong="predict" breaks="operations" says="'operations' over"
# Misunderstands: a weight takes one operation, not a multiplication and an addition.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layers = config.num_hidden_layers * config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    parameters = layers + (2 * config.num_hidden_layers + 1) * config.hidden_size + (1 if config.tie_word_embeddings else 2) * output
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 3 * (layers + output) * tokens}


# %% wrong="predict" breaks="operations" says="'operations' over"
# Misunderstands: all tokens of a step attend to each other.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layers = config.num_hidden_layers * config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    parameters = layers + (2 * config.num_hidden_layers + 1) * config.hidden_size + (1 if config.tie_word_embeddings else 2) * output
    attention = 12 * config.num_hidden_layers * heads * tokens**2
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * (layers + output) * tokens + attention}


# %% wrong="predict" breaks="bytes" says="'bytes' over"
# Misunderstands: the logits of the batch belong to the weights.
def predict(config, tokens):
    heads, groups = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    layers = config.num_hidden_layers * config.hidden_size * (2 * heads + 2 * groups + 3 * config.intermediate_size)
    output = config.vocab_size * config.hidden_size
    parameters = layers + (2 * config.num_hidden_layers + 1) * config.hidden_size + (1 if config.tie_word_embeddings else 2) * output
    return {"parameters": parameters, "bytes": 16 * parameters + 4 * tokens * config.hidden_size, "operations": 6 * (layers + output) * tokens}


# %% right="predict"
# Shape by shape, in a list.
def predict(config, tokens):
    width, q = config.hidden_size, config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    block = [(width, q), (width, kv), (width, kv), (q, width), (width, config.intermediate_size), (width, config.intermediate_size), (config.intermediate_size, width)]
    multiplied = block * config.num_hidden_layers + [(width, config.vocab_size)]
    products = sum(a * b for a, b in multiplied)
    stored = products + width * (2 * config.num_hidden_layers + 1)
    if not config.tie_word_embeddings:
        stored += width * config.vocab_size
    return dict(parameters=float(stored), bytes=stored * 4 * 4.0, operations=(2 + 4) * products * tokens)


# %% right="predict"
# The vectors are left out: they are less than one in a hundred.
def predict(config, tokens):
    per_head = config.head_dim * config.hidden_size
    attention = per_head * 2 * (config.num_attention_heads + config.num_key_value_heads)
    feed_forward = 3 * config.hidden_size * config.intermediate_size
    table = config.vocab_size * config.hidden_size
    inside = config.num_hidden_layers * (attention + feed_forward + 2 * config.hidden_size)
    parameters = inside + table * (2 - bool(config.tie_word_embeddings))
    return {"operations": 6.0 * tokens * (inside + table), "bytes": 16 * parameters, "parameters": parameters}


# %% right="predict"
# A model without memory tells its size.
def predict(config, tokens):
    with torch.device("meta"):
        parameters = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    look_up = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return {"parameters": parameters, "bytes": 16 * parameters, "operations": 6 * (parameters - look_up) * tokens}


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
# + vectors = ((2 * config.num_hidden_layers + 1) / config.hidden_size)


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
# + vectors = ((2 * config.num_hidden_layers - 1)) * config.hidden_size


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - parameters = matrices + vectors + (0 if config.tie_word_embeddings else output)
# + parameters = (matrices - vectors) + (0 if config.tie_word_embeddings else output)


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
# + vectors = ((2 / config.num_hidden_layers) + 1) * config.hidden_size


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
# + vectors = (2 * config.num_hidden_layers + 2) * config.hidden_size


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
# + vectors = (2 * config.num_hidden_layers + 0) * config.hidden_size


# %% equivalent="predict" because="one parameter is less than the 1 % that the task allows"
# - parameters = matrices + vectors + (0 if config.tie_word_embeddings else output)
# + parameters = matrices + vectors + (1 if config.tie_word_embeddings else output)


# %% equivalent="predict" because="one parameter is less than the 1 % that the task allows"
# - parameters = matrices + vectors + (0 if config.tie_word_embeddings else output)
# + parameters = matrices + vectors + ((-1) if config.tie_word_embeddings else output)


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
# + vectors = (3 * config.num_hidden_layers + 1) * config.hidden_size


# %% equivalent="predict" because="the vectors of the norms are less than the 1 % that the task allows"
# - vectors = (2 * config.num_hidden_layers + 1) * config.hidden_size
# + vectors = (1 * config.num_hidden_layers + 1) * config.hidden_size


# %% wrong="choose" breaks="memory" says="its memory is too small"
# Misunderstands: any machine holds any job if it runs long enough.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended)]
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="memory" says="memory"
# Misunderstands: a job that needs all of the memory does not fit.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] > gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended)]
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="hours" says="several sessions"
# Misunderstands: a job always ends within a session.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and min(p["session_hours"], p["week_hours"]) >= hours and (p["unattended"] or not unattended)]
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="hours" says="hours"
# Misunderstands: a session is never longer than the week's hours.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and p["week_hours" if resumes else "session_hours"] >= hours and (p["unattended"] or not unattended)]
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="hours" says="hours"
# Misunderstands: the week's hours are enough for any job.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and p["week_hours"] >= hours and (p["unattended"] or not unattended)]
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="unattended" says="it does not run unattended"
# Misunderstands: somebody can always come back to the browser.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours]
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="unattended" says="decide who is left"
# Misunderstands: a machine that can run unattended is only for jobs that must.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and p["unattended"] == unattended]
    return min(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="price" says="`choose` of"
# Misunderstands: the first that holds the job is good enough.
def choose(platforms, gib, hours, resumes, unattended):
    for p in platforms:
        if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended):
            return p["name"]
    return None


# %% wrong="choose" breaks="ties" says="at equal price more memory wins"
# Misunderstands: among equals the first is taken.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended)]
    return min(left, key=lambda p: p["dollars_per_hour"])["name"] if left else None


# %% wrong="choose" breaks="ties" says="then place"
# Misunderstands: at equal price the machine with just enough memory is the better one.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended)]
    return min(left, key=lambda p: (p["dollars_per_hour"], p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="ties" says="then place"
# Misunderstands: the last of equals is as good as the first.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended)]
    return min(reversed(left), key=lambda p: (p["dollars_per_hour"], -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="none" says="your code raised"
# Misunderstands: one machine always holds the job.
def choose(platforms, gib, hours, resumes, unattended):
    left = [p for p in platforms if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended)]
    return sorted(left, key=lambda p: (p["dollars_per_hour"], -p["gib"]))[0]["name"]


# %% wrong="choose" breaks="price" says="it must stay as it was"
# Misunderstands: the list may be sorted.
def choose(platforms, gib, hours, resumes, unattended):
    platforms.sort(key=lambda p: (p["dollars_per_hour"], -p["gib"]))
    for p in platforms:
        if p["gib"] >= gib and (p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])) >= hours and (p["unattended"] or not unattended):
            return p["name"]
    return None


# %% wrong="choose" breaks="price" says="`choose` of"
# Misunderstands: prices are equal that are equal to the cent.
def choose(platforms: list[dict], gib: float, hours: float, resumes: bool, unattended: bool) -> str | None:
    left = [p for p in platforms if p["gib"] >= gib and hours <= p["week_hours"] and (resumes or hours <= p["session_hours"])]
    left = [p for p in left if p["unattended"] or not unattended]
    return min(left, key=lambda p: (round(p["dollars_per_hour"], 2), -p["gib"]))["name"] if left else None


# %% wrong="choose" breaks="price" says="`choose` of"
# Misunderstands: price first and memory second is one sum in which memory weighs little.
def choose(platforms: list[dict], gib: float, hours: float, resumes: bool, unattended: bool) -> str | None:
    left = [p for p in platforms if p["gib"] >= gib and hours <= p["week_hours"] and (resumes or hours <= p["session_hours"])]
    left = [p for p in left if p["unattended"] or not unattended]
    return min(left, key=lambda p: p["dollars_per_hour"] * hours - p["gib"] / 1000)["name"] if left else None


# %% right="choose"
# A loop that keeps the best so far.
def choose(platforms, gib, hours, resumes, unattended):
    best = None
    for p in platforms:
        if p["gib"] < gib or p["week_hours"] < hours:
            continue
        if not resumes and p["session_hours"] < hours:
            continue
        if unattended and not p["unattended"]:
            continue
        if best is None or p["dollars_per_hour"] < best["dollars_per_hour"]:
            best = p
        elif p["dollars_per_hour"] == best["dollars_per_hour"] and p["gib"] > best["gib"]:
            best = p
    return best["name"] if best else None


# %% right="choose"
# Filters and a stable sort; the price of the whole job.
def choose(platforms, gib, hours, resumes, unattended):
    left = filter(lambda p: p["gib"] >= gib and p["week_hours"] >= hours, platforms)
    left = filter(lambda p: resumes or p["session_hours"] >= hours, left)
    left = filter(lambda p: p["unattended"] or not unattended, left)
    ranked = sorted(sorted(left, key=lambda p: p["gib"], reverse=True), key=lambda p: p["dollars_per_hour"] * hours)
    return next((p["name"] for p in ranked), None)


# %% equivalent="choose" because="the smaller of two numbers, in whichever order"
# - limit = p["week_hours"] if resumes else min(p["session_hours"], p["week_hours"])
# + limit = p["week_hours"] if resumes else (min(p['week_hours'], p['session_hours']))


# %% [markdown] rubric="measurable_task"
# - 0.5 points: input and output are named, so that somebody else could build it.
# - 0.5 points: the data to learn from, and data kept apart to test with.
# - 0.5 points: a measure with the value of the simplest method (the largest class, a rule, the people who do it now).
# - 0.5 points: a value from which on it is worth it, and a limit of time or money.
