# %% wrong="completion_mask" says="opens the assistant's turn"
# Misunderstands: the prompt is the user's message and nothing more.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" says="never learns to stop"
# Misunderstands: the end token is punctuation, not something that the model must write.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:-1] + [-100]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" says="first learned token"
# Misunderstands: a language model learns the whole text, so labels are a copy of the tokens.
def encode(tokenizer, question, answer):
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": list(ids)}


def masked_loss(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


# %% wrong="completion_mask" says="position t predicts token t + 1"
# Misunderstands: logits and labels of one position belong together.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels)


# %% wrong="completion_mask" says="however they lie in rows"
# Misunderstands: the mean of the rows' means is the mean of all tokens.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return torch.stack([F.cross_entropy(x[:-1], y[1:]) for x, y in zip(logits, labels)]).mean()


# %% wrong="completion_mask" says="must not run into each other"
# Misunderstands: once flattened, the batch is one long row, and one shift is enough.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1)[:-1], labels.flatten()[1:])


# %% right="completion_mask"
# In place on the labels, and averaged in double precision.
def encode(tokenizer, question, answer):
    start = len(tokenizer.apply_chat_template(user(question), add_generation_prompt=True, return_dict=False))
    ids = tokenizer.apply_chat_template(user(question) + assistant(answer), return_dict=False)
    return {"input_ids": ids, "labels": [-100] * start + ids[start:]}


def masked_loss(logits, labels):
    labels = labels[:, 1:]
    learned = labels != -100
    labels[~learned] = 0
    return -logits[:, :-1].log_softmax(-1).gather(-1, labels[..., None])[..., 0][learned].double().mean()


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


# %% wrong="bradley_terry" says="last column of a short row is padding"
# Misunderstands: the last position is the last token.
def final_scores(scores, attention_mask):
    return scores[:, -1]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" says="when padding comes first"
# Misunderstands: padding is always on the right.
def final_scores(scores, attention_mask):
    return scores[torch.arange(len(scores)), attention_mask.sum(1) - 1]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" says="wherever the padding is"
# Misunderstands: the first padding follows the last token (or there is padding on the left alone).
def final_scores(scores, attention_mask):
    first_padding = (attention_mask == 0).int().argmax(1)
    return scores[torch.arange(len(scores)), first_padding - 1]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" says="may be 0 like any other"
# Misunderstands: what is zero after masking was masked.
def final_scores(scores, attention_mask):
    return torch.stack([row[row != 0][-1] for row in scores * attention_mask])


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected - (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" says="one go"
# Misunderstands: a formula that is right on paper is right in float32.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -torch.log(torch.sigmoid(chosen - rejected - (0 if margin is None else margin))).mean()


# %% wrong="bradley_terry" says="a margin asks for more"
# Misunderstands: a margin is a bonus for the chosen answer.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -F.logsigmoid(chosen - rejected + (0 if margin is None else margin)).mean()


# %% wrong="bradley_terry" says="sigmoid(chosen - rejected)"
# Misunderstands: each answer is judged alone, as in a yes/no classifier.
def final_scores(scores, attention_mask):
    last = scores.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return scores[torch.arange(len(scores)), last]


def preference_loss(chosen, rejected, margin=None):
    return -(F.logsigmoid(chosen) + F.logsigmoid(-rejected)).mean()


# %% right="bradley_terry"
# A loop to find the token; softplus, or cross-entropy of two classes, is the same loss.
def final_scores(scores, attention_mask):
    return torch.stack([row[mask.nonzero()[-1, 0]] for row, mask in zip(scores, attention_mask)])


def preference_loss(chosen, rejected, margin=None):
    shift = torch.zeros_like(chosen) if margin is None else margin
    return F.softplus(rejected + shift - chosen).sum() / chosen.numel()


# %% wrong="dpo" says="not a mean"
# Misunderstands: log-probabilities of completions of different lengths must be averaged to be comparable.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1) / completion_mask.sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" says="position t - 1"
# Misunderstands: the logits of a token are those at its own position.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits.log_softmax(-1).gather(-1, input_ids[..., None]).squeeze(-1)
    return (logps * completion_mask).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" says="policy - reference"
# Misunderstands: the loss compares the two completions under the policy; the reference is only for monitoring.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * (policy_chosen - policy_rejected)
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" says="beta inside it"
# Misunderstands: beta is a weight in front of the loss.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = (policy_chosen - reference_chosen) - (policy_rejected - reference_rejected)
    return -beta * F.logsigmoid(margins).mean(), beta * margins


# %% wrong="dpo" says="in one go"
# Misunderstands: sigmoid and log can be taken one after the other.
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -margins.sigmoid().log().mean(), margins


# %% wrong="dpo" says="whether of one token"
# Misunderstands: a small constant under the logarithm changes nothing but the infinities.
def completion_logps(logits, input_ids, completion_mask):
    logps = (logits[:, :-1].softmax(-1) + 1e-12).log().gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" says="a product of many"
# Misunderstands: the logarithm of a product may be taken at the end.
def completion_logps(logits, input_ids, completion_mask):
    chances = logits[:, :-1].softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return chances.masked_fill(completion_mask[:, 1:] == 0, 1.0).prod(1).log()


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% wrong="dpo" says="no gradient would reach the model"
# Misunderstands: log-probabilities are measurements, as in the evaluation above.
@torch.no_grad()
def completion_logps(logits, input_ids, completion_mask):
    logps = logits[:, :-1].log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)
    return (logps * completion_mask[:, 1:]).sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    margins = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return -F.logsigmoid(margins).mean(), margins


# %% right="dpo"
# Cross-entropy gives minus the log-probability of each token; the ratio of ratios is regrouped.
def completion_logps(logits, input_ids, completion_mask):
    targets = input_ids[:, 1:].masked_fill(completion_mask[:, 1:] == 0, -100)
    return -F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none").sum(-1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    chosen_reward = beta * (policy_chosen - reference_chosen)
    rejected_reward = beta * (policy_rejected - reference_rejected)
    return torch.logaddexp(
        torch.zeros_like(chosen_reward), rejected_reward - chosen_reward
    ).mean(), chosen_reward - rejected_reward


# %% wrong="kl_estimates" says="log policy - log reference"
# Misunderstands: which of the two distributions the tokens were drawn from, and so the sign.
def kl_estimates(logps, ref_logps, mask):
    delta = logps - ref_logps
    k3 = delta.exp() - delta - 1
    return -(delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" says="reference on top"
# Misunderstands: k3 is the same whichever way round the ratio is.
def kl_estimates(logps, ref_logps, mask):
    delta = logps - ref_logps
    k3 = delta.exp() - delta - 1
    return (delta * mask).sum() / mask.sum(), (k3 * mask).sum() / mask.sum()


# %% wrong="kl_estimates" says="padding does not count"
# Misunderstands: multiplying with the mask makes `mean` leave the padding out.
def kl_estimates(logps, ref_logps, mask):
    delta = (ref_logps - logps) * mask
    return -delta.mean(), (delta.exp() - delta - 1).mean()


# %% wrong="kl_estimates" says="counts more than a short one"
# Misunderstands: a mean of means is the mean of all.
def kl_estimates(logps, ref_logps, mask):
    delta = ref_logps - logps
    k1, k3 = ((x * mask).sum(1) / mask.sum(1) for x in (-delta, delta.exp() - delta - 1))
    return k1.mean(), k3.mean()


# %% wrong="kl_estimates" says="wherever the mask has them"
# Misunderstands: a mask is a length, and real tokens come first.
def kl_estimates(logps, ref_logps, mask):
    delta = torch.cat([(q - p)[: m.sum()] for p, q, m in zip(logps, ref_logps, mask)])
    return -delta.mean(), (delta.exp() - delta - 1).mean()


# %% right="kl_estimates"
# In place on its arguments; masked places hold a difference of 0, which adds nothing to either sum.
def kl_estimates(logps, ref_logps, mask):
    ref_logps -= logps
    ref_logps *= mask
    return -ref_logps.sum() / mask.sum(), (ref_logps.exp() - ref_logps - 1).sum() / mask.sum()


# %% right="kl_estimates"
# Select the real tokens first; expm1 is exact for small differences.
def kl_estimates(logps, ref_logps, mask):
    difference = (logps - ref_logps)[mask == 1]
    return difference.mean(), (torch.expm1(-difference) + difference).mean()


# %% wrong="advantages" says="not of the batch"
# Misunderstands: rewards are normalised over all answers of a batch.
def group_advantages(rewards, group_size, scale=True):
    advantages = rewards - rewards.mean()
    return advantages / (rewards.std() + 1e-4) if scale else advantages


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" says="one after the other"
# Misunderstands: answer i of every question first, then answer i + 1.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(group_size, -1)
    advantages = groups - groups.mean(0)
    return (advantages / (groups.std(0) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" says="sample standard deviation"
# Misunderstands: the spread of a sample is that of a population (NumPy's default).
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True, correction=0) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% wrong="advantages" says="mean of the others in the group"
# Misunderstands: the baseline is the mean of the whole group, as in GRPO without scaling.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    groups = rewards.view(-1, group_size)
    return (groups - groups.mean(1, keepdim=True)).flatten()


# %% wrong="advantages" says="nor in the count"
# Misunderstands: leaving one out of the sum changes the sum only.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    return (advantages / (groups.std(1, keepdim=True) + 1e-4) if scale else advantages).flatten()


def leave_one_out(rewards, group_size):
    groups = rewards.view(-1, group_size)
    return (groups - (groups.sum(1, keepdim=True) - groups) / group_size).flatten()


# %% wrong="advantages" says="2 groups of 3 with scale=False"
# Misunderstands: `chunk` takes a number of groups, which happened to be three.
def group_advantages(rewards, group_size, scale=True):
    parts = [(group - group.mean()) / (group.std() + 1e-4 if scale else 1) for group in rewards.chunk(3)]
    return torch.cat(parts)


def leave_one_out(rewards, group_size):
    return (rewards - rewards.view(-1, group_size).mean(1).repeat_interleave(group_size)) * group_size / (group_size - 1)


# %% right="advantages"
# In place: `view` shares its memory with the rewards.
def group_advantages(rewards, group_size, scale=True):
    groups = rewards.view(-1, group_size)
    spread = groups.std(1, keepdim=True)
    groups -= groups.mean(1, keepdim=True)
    if scale:
        groups /= spread + 1e-4
    return rewards


def leave_one_out(rewards, group_size):
    groups = rewards.view(-1, group_size)
    groups -= groups.mean(1, keepdim=True)
    groups *= group_size / (group_size - 1)
    return rewards


# %% right="advantages"
# Means and spreads repeated for each answer; RLOO as a scaled difference to the group's mean.
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


# %% wrong="grpo_loss" says="not of the two ratios"
# Misunderstands: the smaller ratio is chosen first, then multiplied; for a negative advantage that is the wrong one.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    loss = -torch.minimum(ratio, ratio.clamp(1 - epsilon, 1 + epsilon)) * advantages[:, None]
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" says="clip the ratio"
# Misunderstands: clipping alone is the safeguard, without the minimum.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    loss = -ratio.clamp(1 - epsilon, 1 + epsilon) * advantages[:, None]
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" says="average over all real tokens"
# Misunderstands: every answer weighs the same in TRL's default (that is loss_type="grpo").
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return ((loss * mask).sum(1) / mask.sum(1)).mean()


# %% wrong="grpo_loss" says="moved far enough"
# Misunderstands: the ratio is a weight, like in importance sampling, and its gradient is not wanted.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp().detach()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push) + 0 * logps
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" says="clip the ratio"
# Misunderstands: divergence is to be sought, so its term is subtracted.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss - beta * ratio * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" says="by the ratio as it is"
# Misunderstands: the leash has nothing to do with how old the answers are (the formula of the first GRPO papers).
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * (delta.exp() - delta - 1)
    return (loss * mask).sum() / mask.sum()


# %% wrong="grpo_loss" says="in front of k3 carries a gradient"
# Misunderstands: the ratio corrects the value of k3 and is a constant weight.
def grpo_loss(logps, old_logps, advantages, mask, epsilon=0.2, beta=0.0, ref_logps=None):
    ratio = (logps - old_logps).exp()
    push = advantages[:, None]
    loss = -torch.minimum(ratio * push, ratio.clamp(1 - epsilon, 1 + epsilon) * push)
    if beta:
        delta = ref_logps - logps
        loss = loss + beta * ratio.detach() * (delta.exp() - delta - 1)
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


# %% wrong="exact_reward" says="not a part of it"
# Misunderstands: the hole was that several numbers were named; a part of a number is still found.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(right in text and len(re.findall(r"\d+", text)) == 1) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" says="small enough is not yet the answer"
# Misunderstands: the hole was that several numbers could be named; a property of the right answer is enough.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    found = [re.findall(r"-?\d+", text) for text in texts]
    return [float(len(numbers) == 1 and int(numbers[0]) <= int(right)) for numbers, right in zip(found, answer)]


# %% wrong="exact_reward" says="name them all"
# Misunderstands: whole numbers close the hole; the right one among many is enough.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(right in re.findall(r"-?\d+", text)) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" says="words around"
# Misunderstands: strict means that nothing but the number may be said.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(text.strip() == right) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" says="several numbers must not pay"
# Misunderstands: the first number is the answer, the rest is talk.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"-?\d+", text)[:1] == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" says="fails on plain text"
# Misunderstands: completions are always chats.
def exact_reward(completions, answer, **columns):
    return [float(re.findall(r"-?\d+", reply[0]["content"]) == [right]) for reply, right in zip(completions, answer)]


# %% wrong="exact_reward" says="shows by itself"
# Misunderstands: the column of prompts is always there to tell the form.
def exact_reward(completions, answer, **columns):
    chat = not isinstance(columns.get("prompts", [""])[0], str)
    texts = [reply[0]["content"] if chat else reply for reply in completions]
    return [float(re.findall(r"-?\d+", text) == [right]) for text, right in zip(texts, answer)]


# %% wrong="exact_reward" says="a minus sign belongs"
# Misunderstands: a number is its digits.
def exact_reward(completions, answer, **columns):
    texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
    return [float(re.findall(r"\d+", text) == [right.lstrip("-")]) for text, right in zip(texts, answer)]


# %% equivalent="exact_reward" because="a completion is a chat of one message, which is the first and the last"
# - texts = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
# + texts = [reply if isinstance(reply, str) else reply[(-1)]["content"] for reply in completions]


# %% right="exact_reward"
# Everything that is no part of a number becomes a space.
def exact_reward(completions, answer, **columns):
    rewards = []
    for reply, right in zip(completions, answer):
        text = reply if isinstance(reply, str) else reply[-1]["content"]
        numbers = [match.group() for match in re.finditer("-?[0-9]+", text)]
        rewards.append(1.0 if len(numbers) == 1 and numbers[0] == right else 0.0)
    return rewards


# %% wrong="check_reward" says="still unseen"
# Misunderstands: a reward is tested by right and wrong answers; nobody would answer like a cheater.
def check_reward(reward):
    chats = [assistant("12"), assistant("The answer is 12."), assistant("33"), assistant("")]
    assert reward(completions=chats, answer=["12"] * 4) == [1.0, 1.0, 0.0, 0.0]


# %% wrong="check_reward" says="still unseen"
# Misunderstands: the known hack is the only one.
def check_reward(reward):
    chats = [assistant("0"), assistant("1"), assistant("12")]
    assert reward(completions=chats, answer=["12"] * 3) == [0.0, 0.0, 1.0]


# %% wrong="check_reward" says="reject a correct implementation"
# Misunderstands: strictness is a virtue by itself (the contract welcomes words).
def check_reward(reward):
    chats = [assistant("12"), assistant("It is 12."), assistant("12 71"), assistant("123")]
    assert reward(completions=chats, answer=["12"] * 4) == [1.0, 0.0, 0.0, 0.0]


# %% wrong="check_reward" says="catch none"
# Misunderstands: a function that runs, works.
def check_reward(reward):
    reward(completions=[assistant("12")], answer=["12"])


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
    for text in ("", "71", "12 71", "71 12", "12 12", "312", "123", "-12", "none"):
        assert one(text, "12") == 0.0
    assert one("-5", "-5") == 1.0 and one("5", "-5") == 0.0
    batch = [assistant(text) for text in ("3", "", "5", "4")]
    assert list(reward(completions=batch, answer=["3", "1", "5", "9"])) == [1.0, 0.0, 1.0, 0.0]


# %% [markdown] rubric="choose_method"
# - 1 point: the three methods fit what is there: pairs → DPO (or a reward model with RL, if its extra cost is defended); verifier
#   → GRPO or RLOO; ideal answers alone → SFT. Two of three: 0.5.
# - 1 point: for each a failure that this lesson showed or that follows from it: alignment tax or likelihood displacement; reward
#   hacking or groups without a signal; forgetting. Two of three: 0.5.
# - 0.5 points: for each a number that would show it (logps/chosen and held-out accuracy; answer length, reading answers,
#   verified accuracy; old tasks).
# - 0.5 points: at least two figures of the student's own run, read in the right direction.
