# %% wrong="onnx_export" says="batch axis of the input is fixed at 1"
def export_onnx(model, example, path):  # believes that a file takes any batch by itself
    was = model.training
    model.eval()
    torch.onnx.export(model, (example,), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False).save(path)
    model.train(was)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" says="training mode while it was exported"
def export_onnx(model, example, path):  # exports in the mode that it finds
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" says="put it back as it was"
def export_onnx(model, example, path):  # leaves the model in eval mode
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model.eval(), (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)


def load_onnx(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


# %% wrong="onnx_export" says="names of the inputs"
def export_onnx(model, example, path):  # leaves the names to chance: the clients must then guess them
    was = model.training
    model.eval()
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(model, (example.repeat_interleave(3, 0),), dynamo=True, dynamic_shapes=(free,), verbose=False).save(path)
    model.train(was)


def load_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


# %% wrong="onnx_export" says="threads and providers"
def export_onnx(model, example, path):
    was = model.training
    model.eval()
    two = torch.cat([example, example])
    free = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
    ).save(path)
    model.train(was)


def load_onnx(path):  # a thread for every core, in every session
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


# %% right="onnx_export"
def export_onnx(net, one, where):
    quiet = copy.deepcopy(net).eval()
    program = torch.export.export(quiet, (one.repeat(4, *[1] * (one.ndim - 1)),), dynamic_shapes=[{0: torch.export.Dim("batch")}])
    torch.onnx.export(program, f=str(where), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False)


def load_onnx(where):
    wishes = onnxruntime.SessionOptions()
    wishes.intra_op_num_threads = wishes.inter_op_num_threads = 1
    engine = onnxruntime.InferenceSession(Path(where).read_bytes(), sess_options=wishes, providers=["CPUExecutionProvider"])

    def run(images):
        (out,) = engine.run(["logits"], {"images": np.ascontiguousarray(images)})
        return out

    return run


# %% equivalent="onnx_export" because="the axis may have any name"
# - free = {0: torch.export.Dim("batch")}
# + free = {0: torch.export.Dim('hctab')}


# %% equivalent="onnx_export" because="verbose only prints progress"
# - model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=False
# + model, (two,), dynamo=True, dynamic_shapes=(free,), input_names=["images"], output_names=["logits"], verbose=True


# %% equivalent="onnx_export" because="an unknown provider is skipped and the CPU, always the last resort, takes its place"
# - session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
# + session = onnxruntime.InferenceSession(path, options, providers=['redivorPnoitucexEUPC'])


# %% wrong="aoti_export" says="declared free from 1 to largest"
def export_program(model, example, largest):  # believes that the example's size does not matter
    was = model.training
    model.eval()
    program = torch.export.export(model, (example.repeat(largest, *[1] * (example.ndim - 1)),))
    model.train(was)
    return program


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="promised at most"
def export_program(model, example, largest):  # leaves the range open
    was = model.training
    model.eval()
    program = torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    model.train(was)
    return program


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="exported in eval mode"
def export_program(model, example, largest):  # forgets the mode
    rows = torch.export.Dim("batch", min=1, max=largest)
    return torch.export.export(model, (torch.cat([example, example]),), dynamic_shapes=({0: rows},))


def run_in_chunks(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="number of calls"
def run_in_chunks(run, images, largest):  # one by one: right, and as slow as it gets
    if len(images) == 0:
        return run(torch.zeros(1, *images.shape[1:]))[:0]
    return torch.cat([run(image[None]) for image in images])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="all chunks, in order"
def run_in_chunks(run, images, largest):  # drops the rest that does not fill a chunk
    if len(images) < largest:
        return run(images) if len(images) else run(torch.zeros(1, *images.shape[1:]))[:0]
    full = len(images) // largest
    return torch.cat([run(images[i * largest : (i + 1) * largest]) for i in range(full)])


def export_program(*args):
    raise NotImplementedError


# %% wrong="aoti_export" says="an empty batch is not a batch"
def run_in_chunks(run, images, largest):  # an empty batch goes to the compiled code, which wants at least one row
    return torch.cat([run(part) for part in images.split(largest)])


def export_program(*args):
    raise NotImplementedError


# %% right="aoti_export"
def export_program(net, one, most):
    quiet = copy.deepcopy(net).eval()
    sizes = {0: torch.export.Dim("rows", max=most)}
    return torch.export.export(quiet, args=(one.expand(2, *one.shape[1:]).contiguous(),), dynamic_shapes=[sizes])


def run_in_chunks(run, images, largest):
    starts = range(0, len(images), largest)
    parts = [run(images[s : s + largest]) for s in starts] or [run(torch.zeros((1,) + tuple(images.shape[1:])))[:0]]
    return torch.cat(parts, dim=0)


# %% equivalent="aoti_export" because="the name of the axis is only shown in messages"
# - rows = torch.export.Dim("batch", max=largest)
# + rows = torch.export.Dim('hctab', max=largest)


# %% equivalent="aoti_export" because="of one row, all but the last is none"
# - return run(images.new_zeros(1, *images.shape[1:]))[:0]
# + return run(images.new_zeros(1, *images.shape[1:]))[:(-1)]


# %% wrong="accept_export" says="computes in bfloat16"
def accept(run, model, images):  # one number: the labels agree
    for view in (images, images[:1], images[:5]):
        kept = view.copy()
        out = run(view)
        assert out.shape == (len(view), 10) and out.dtype == np.float32
        assert np.array_equal(view, kept)
        assert (out.argmax(1) == model(torch.tensor(kept)).numpy().argmax(1)).mean() > 0.5
        assert (out < 0).any()


# %% wrong="accept_export" says="reject a correct implementation"
def accept(run, model, images):  # asks for equal bits
    assert np.array_equal(run(images[:5]), model(torch.tensor(images)).numpy()[:5])


# %% wrong="accept_export" says="works for the batch size of the example only"
def accept(run, model, images):  # one batch, of the size that was exported
    kept = images.copy()
    logits = run(images)
    assert logits.dtype == np.float32 and np.array_equal(images, kept)
    np.testing.assert_allclose(logits, model(torch.tensor(kept)).numpy(), atol=1e-3)


# %% wrong="accept_export" says="reject with `assert`"
def accept(run, model, images):  # gives a verdict that nobody reads
    try:
        return bool(np.abs(run(images) - model(torch.tensor(images)).numpy()).max() < 1e-3)
    except Exception:
        return False


# %% right="accept_export"
def accept(run, model, images):
    def judged(batch):
        before = np.array(batch)
        out = run(batch)
        np.testing.assert_array_equal(batch, before)
        assert type(out) is np.ndarray
        assert out.dtype == np.dtype("float32")
        np.testing.assert_allclose(out, model(torch.from_numpy(before)).numpy(), rtol=0, atol=1e-3)

    for size in range(1, len(images) + 1):
        judged(images[:size].copy())
    judged(images[::3])
    judged(images[::-1])
    judged(np.asfortranarray(images).swapaxes(2, 3))
    judged(images * 0)


# %% equivalent="accept_export" because="no difference is 0.001 to the last bit"
# - assert np.abs(logits - wanted).max() <= 1e-3, "other logits"
# + assert (np.abs(logits - wanted).max() < 0.001), "other logits"


# %% equivalent="accept_export" because="every second image backwards is a view with a negative step as well"
# - views = [images, images[:1], images[::-1], images * 0]  # all, one alone, backwards, blank
# + views = [images, images[:1], images[::-2], images * 0]  # all, one alone, backwards, blank


# %% wrong="micro_batcher" says="a full batch does not wait"
class MicroBatcher:  # collects for a fixed time, then runs
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker = [], None

    async def submit(self, item):
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((item, answer))
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            await asyncio.sleep(self.max_wait)
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            rows = await self.predict(np.stack([i for i, _ in batch]))
            for (_, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" says="a second call of predict started"
class MicroBatcher:  # every full batch starts at once, whatever runs
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait = predict, max_batch, max_wait
        self.waiting, self.timer = [], None

    async def submit(self, item):
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((item, answer))
        if len(self.waiting) == self.max_batch:
            asyncio.ensure_future(self.flush())
        elif len(self.waiting) == 1:
            loop.call_later(self.max_wait, lambda: asyncio.ensure_future(self.flush()))
        return await answer

    async def flush(self):
        batch, self.waiting = self.waiting, []
        if batch:
            rows = await self.predict(np.stack([i for i, _ in batch]))
            for (_, answer), row in zip(batch, rows):
                answer.set_result(row)


# %% wrong="micro_batcher" says="not of its newest"
class MicroBatcher:  # each arrival starts the waiting time anew
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.arrived = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((loop.time(), item, answer))
        self.arrived.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            while len(self.waiting) < self.max_batch:
                self.arrived.clear()
                try:
                    async with asyncio.timeout_at(self.waiting[-1][0] + self.max_wait):
                        await self.arrived.wait()
                except TimeoutError:
                    break
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            rows = await self.predict(np.stack([i for _, i, _ in batch]))
            for (_, _, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" says="1 of 3 parts pass"
class MicroBatcher:  # nobody hears of errors, nobody may leave, nobody is refused
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait = predict, max_batch, max_wait
        self.waiting, self.worker, self.arrived = [], None, asyncio.Event()

    async def submit(self, item):
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((loop.time(), item, answer))
        self.arrived.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self.waiting[0][0] + self.max_wait):
                    while len(self.waiting) < self.max_batch:
                        self.arrived.clear()
                        await self.arrived.wait()
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            rows = await self.predict(np.stack([i for _, i, _ in batch]))
            for (_, _, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% wrong="micro_batcher" says="2 of 3 parts pass. ✗ errors and callers"
class MicroBatcher:  # fulfils futures without asking whether their callers are still there
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.predict, self.max_batch, self.max_wait, self.max_waiting = predict, max_batch, max_wait, max_waiting
        self.waiting, self.worker, self.arrived = [], None, asyncio.Event()

    async def submit(self, item):
        if len(self.waiting) >= self.max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self.waiting.append((loop.time(), item, answer))
        self.arrived.set()
        if self.worker is None:
            self.worker = asyncio.create_task(self.work())
        return await answer

    async def work(self):
        while self.waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self.waiting[0][0] + self.max_wait):
                    while len(self.waiting) < self.max_batch:
                        self.arrived.clear()
                        await self.arrived.wait()
            batch, self.waiting = self.waiting[: self.max_batch], self.waiting[self.max_batch :]
            try:
                rows = await self.predict(np.stack([i for _, i, _ in batch]))
            except Exception as error:
                for _, _, answer in batch:
                    answer.set_exception(error)
                continue
            for (_, _, answer), row in zip(batch, rows):
                answer.set_result(row)
        self.worker = None


# %% right="micro_batcher"
class MicroBatcher:
    # No background task that lives on: each call, when it is done, looks whether the next is due.
    def __init__(self, predict, max_batch, max_wait, max_waiting):
        self.fn, self.size, self.patience, self.room = predict, max_batch, max_wait, max_waiting
        self.queue, self.busy, self.alarm = [], False, None

    async def submit(self, item):
        if len(self.queue) >= self.room:
            raise Overloaded("full")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.queue.append((item, future, loop.time() + self.patience))
        self.look()
        return await future

    def look(self):
        loop = asyncio.get_running_loop()
        if self.busy or not self.queue:
            return
        if len(self.queue) >= self.size or loop.time() >= self.queue[0][2] - 1e-9:
            if self.alarm:
                self.alarm.cancel()
            self.busy, self.alarm = True, None
            self.task = loop.create_task(self.go())
        elif self.alarm is None:
            self.alarm = loop.call_at(self.queue[0][2], self.ring)

    def ring(self):
        self.alarm = None
        self.look()

    async def go(self):
        chosen = []
        while self.queue and len(chosen) < self.size:
            item, future, _ = self.queue.pop(0)
            if not future.cancelled():
                chosen.append((item, future))
        try:
            if chosen:
                rows = await self.fn(np.array([item for item, _ in chosen]))
                for (_, future), row in zip(chosen, rows):
                    if not future.cancelled():
                        future.set_result(row)
        except Exception as error:
            for _, future in chosen:
                if not future.done():
                    future.set_exception(error)
        finally:
            self.busy = False
            self.look()


# %% wrong="service" says="size and pace of the body: a body of 500,000 bytes"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # lets FastAPI read and validate: no limits
    Row = Annotated[list[FiniteFloat], Field(min_length=16, max_length=16)]

    class Picture(BaseModel):
        model_config = ConfigDict(extra="forbid")
        image: Annotated[list[Row], Field(min_length=16, max_length=16)]

    app = FastAPI()

    async def predict(picture):
        try:
            async with asyncio.timeout(answer_seconds):
                logits = await batcher.submit(np.array([picture.image], dtype=np.float32))
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except TimeoutError:
            raise HTTPException(504)
        except Exception:
            raise HTTPException(500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    predict.__annotations__ = {"picture": Picture}
    app.post("/predict")(predict)
    return app


# %% wrong="service" says="a body that is read to its end fills the memory first"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # reads everything, then counts
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        try:
            async with asyncio.timeout(body_seconds):
                body = await request.body()
        except TimeoutError:
            raise HTTPException(408)
        if len(body) > max_bytes:
            raise HTTPException(413)
        try:
            content = json.loads(body)
            image = np.array(content["image"], dtype=np.float32)
            assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
        except Exception:
            raise HTTPException(422)
        logits = await batcher.submit(image[None])
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="Numbers must be finite"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # checks the shape, and believes that JSON has no NaN
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body)
            assert set(content) == {"image"}
            image = np.array(content["image"], dtype=np.float32)
            assert image.shape == (16, 16) and None not in sum(content["image"], [])
        except Exception:
            raise HTTPException(422)
        try:
            async with asyncio.timeout(answer_seconds):
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "1"})
        except TimeoutError:
            raise HTTPException(504)
        except Exception:
            raise HTTPException(500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="one limit for all pieces together"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # a limit for each piece: a patient attacker holds on for hours
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body, stream = b"", request.stream()
        while True:
            try:
                piece = await asyncio.wait_for(anext(stream), body_seconds)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise HTTPException(408)
            body += piece
            if len(body) > max_bytes:
                raise HTTPException(413)
            if asyncio.get_running_loop().time() > 10 * body_seconds:
                raise HTTPException(408)
        try:
            content = json.loads(body)
            image = np.array(content["image"], dtype=np.float32)
            assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
        except Exception:
            raise HTTPException(422)
        logits = await batcher.submit(image[None])
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="tells the client the text"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # hands the error to the client
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
        except TimeoutError:
            raise HTTPException(408)
        try:
            content = json.loads(body)
            image = np.array(content["image"], dtype=np.float32)
            assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
        except Exception:
            raise HTTPException(422)
        try:
            logits = await asyncio.wait_for(batcher.submit(image[None]), answer_seconds)
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "2"})
        except TimeoutError:
            raise HTTPException(504)
        except Exception as error:
            raise HTTPException(500, f"{type(error).__name__}: {error}")
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% wrong="service" says="Two limits, one after the other"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):  # one limit around everything
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = b""
        try:
            async with asyncio.timeout(answer_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > max_bytes:
                        raise HTTPException(413)
                try:
                    content = json.loads(body)
                    image = np.array(content["image"], dtype=np.float32)
                    assert set(content) == {"image"} and image.shape == (16, 16) and np.isfinite(image).all()
                except Exception:
                    raise HTTPException(422)
                logits = await batcher.submit(image[None])
        except Overloaded:
            raise HTTPException(503, headers={"Retry-After": "2"})
        except TimeoutError:
            raise HTTPException(504)
        except HTTPException:
            raise
        except Exception:
            raise HTTPException(500)
        return {"label": int(logits.argmax()), "probabilities": softmax(logits).tolist()}

    return app


# %% right="service"
def make_app(batcher, max_bytes, body_seconds, answer_seconds):
    # Plain Starlette-style handling, validation by hand, wait_for in place of timeout.
    from fastapi.responses import JSONResponse

    app = FastAPI()

    def refuse(status, why, **headers):
        return JSONResponse({"error": why}, status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def collect(request):
        kept = []
        async for piece in request.stream():
            kept.append(piece)
            if sum(map(len, kept)) > max_bytes:
                return None
        return b"".join(kept)

    @app.post("/predict")
    async def classify(request: Request):
        try:
            body = await asyncio.wait_for(collect(request), body_seconds)
        except asyncio.TimeoutError:
            return refuse(408, "slow")
        if body is None:
            return refuse(413, "big")
        try:
            content = json.loads(body)
            if not isinstance(content, dict) or list(content) != ["image"]:
                raise ValueError
            rows = [[float(v) for v in row] for row in content["image"]]
            image = np.array(rows, dtype=np.float32).reshape(1, 16, 16)
            if [len(row) for row in rows] != [16] * 16 or not np.isfinite(image).all():
                raise ValueError
        except (ValueError, TypeError, KeyError):
            return refuse(422, "one image of 16 x 16 finite numbers")
        try:
            logits = await asyncio.wait_for(batcher.submit(image), answer_seconds)
        except Overloaded:
            return refuse(503, "busy", Retry_After="3")
        except asyncio.TimeoutError:
            return refuse(504, "late")
        except Exception:
            return refuse(500, "broken")
        return {"label": np.argmax(logits).item(), "probabilities": [float(p) for p in softmax(logits)]}

    return app


# %% wrong="health_and_metrics" says="requests_total by (path, status)"
def watch(app, registry, ready):  # the address as the client wrote it: a series for every scanner's idea
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin = time.perf_counter()
        response = await call_next(request)
        count.labels(request.url.path, response.status_code).inc()
        seconds.labels(request.url.path).observe(time.perf_counter() - begin)
        return response

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" says="requests_total by (path, status)"
def watch(app, registry, ready):  # requests that fail are not counted: the error rate is always 0
    count = Counter("requests", "Requests", ["path", "status"], registry=registry)
    seconds = Histogram("request_seconds", "Seconds", ["path"], registry=registry)

    @app.middleware("http")
    async def measure(request: Request, call_next):
        begin = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        path = route.path if route else "other"
        count.labels(path, response.status_code).inc()
        seconds.labels(path).observe(time.perf_counter() - begin)
        return response

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


# %% wrong="health_and_metrics" says="do not have it killed"
def watch(app, registry, ready):  # takes alive for ready
    @app.get("/health/live")
    @app.get("/health/ready")
    async def healthy():
        return Response(status_code=200 if ready() else 503)


# %% wrong="health_and_metrics" says="ask at every request"
def watch(app, registry, ready):  # asks once, when the application is made
    status = 200 if ready() else 503

    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=status)


# %% wrong="health_and_metrics" says="Prometheus' own"
def watch(app, registry, ready):  # metrics as a JSON string
    @app.get("/health/live")
    async def live():
        return {}

    @app.get("/health/ready")
    async def is_ready():
        return Response(status_code=200 if ready() else 503)

    @app.get("/metrics")
    async def metrics():
        return generate_latest(registry).decode()


# %% right="health_and_metrics"
def watch(app, registry, ready):
    # A plain ASGI middleware and plain routes.
    from starlette.responses import PlainTextResponse

    total = Counter("requests_total", "n", labelnames=("path", "status"), registry=registry)
    duration = Histogram("request_seconds", "s", labelnames=("path",), registry=registry, buckets=(0.001, 0.01, 0.1, 1, 10))

    class Meter:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            if scope["type"] != "http":
                return await self.inner(scope, receive, send)
            seen = {"status": 500}

            async def note(message):
                if message["type"] == "http.response.start":
                    seen["status"] = message["status"]
                await send(message)

            start = time.monotonic()
            try:
                await self.inner(scope, receive, note)
            finally:
                where = getattr(scope.get("route"), "path", "other")
                total.labels(path=where, status=seen["status"]).inc()
                duration.labels(path=where).observe(time.monotonic() - start)

    app.add_middleware(Meter)
    app.add_api_route("/health/live", lambda: {"status": "alive"})
    app.add_api_route("/health/ready", lambda: PlainTextResponse("", 200 if ready() else 503))
    app.add_api_route("/metrics", lambda: Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST}))


# %% equivalent="health_and_metrics" because="a help text is for people"
# - requests = Counter("requests", "Requests by route and status", ["path", "status"], registry=registry)
# + requests = Counter("requests", 'sutats dna etuor yb stseuqeR', ["path", "status"], registry=registry)


# %% equivalent="health_and_metrics" because="a help text is for people"
# - seconds = Histogram("request_seconds", "Seconds to answer, by route", ["path"], registry=registry)
# + seconds = Histogram("request_seconds", 'etuor yb ,rewsna ot sdnoceS', ["path"], registry=registry)


# %% equivalent="health_and_metrics" because="Starlette has one kind of middleware and does not look at the word"
# - @app.middleware("http")
# + @app.middleware('ptth')

# %% wrong="deploy_files" says="the batch axis is not in dims"
def write_model_repository(folder, name, onnx_path, max_batch, delay_us):  # puts the batch axis into dims
    place = Path(folder, name)
    (place / "1").mkdir(parents=True)
    shutil.copy(onnx_path, place / "1" / "model.onnx")
    (place / "config.pbtxt").write_text(f"""
name: "{name}"
backend: "onnxruntime"
max_batch_size: {max_batch}
input [{{ name: "images" data_type: TYPE_FP32 dims: [-1, 1, 16, 16] }}]
output [{{ name: "logits" data_type: TYPE_FP32 dims: [-1, 10] }}]
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
instance_group [{{ kind: KIND_CPU count: 1 }}]
""")


def make_bento(*args):
    raise NotImplementedError


dockerfile = make_bento


# %% wrong="deploy_files" says="does not follow Triton's schema"
def write_model_repository(folder, name, onnx_path, max_batch, delay_us):  # invents field names
    place = Path(folder, name)
    (place / "1").mkdir(parents=True)
    shutil.copy(onnx_path, place / "1" / "model.onnx")
    (place / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch: {max_batch}\n')


def make_bento(*args):
    raise NotImplementedError


dockerfile = make_bento


# %% wrong="deploy_files" says="a folder for the model, in it one for each version"
def write_model_repository(folder, name, onnx_path, max_batch, delay_us):  # no folder for the version
    place = Path(folder, name)
    place.mkdir(parents=True)
    shutil.copy(onnx_path, place / "model.onnx")
    (place / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: {max_batch}\n')


def make_bento(*args):
    raise NotImplementedError


dockerfile = make_bento


# %% wrong="deploy_files" says="Extra inputs are not permitted"
def make_bento(bentoml, run):  # a misspelt setting, which the real library ignores
    @bentoml.service(name="digits", resources={"cpu": 1}, traffic={"time_out": 2, "max_concurrency": 64})
    class Digits:
        @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
        def predict(self, images: np.ndarray) -> np.ndarray:
            return run(images)

    return Digits


def write_model_repository(*args):
    raise NotImplementedError


dockerfile = write_model_repository


# %% wrong="deploy_files" says="batches nothing unless"
def make_bento(bentoml, run):  # believes that batching is the default
    @bentoml.service(name="digits", resources={"cpu": 1}, traffic={"timeout": 2, "max_concurrency": 64})
    class Digits:
        @bentoml.api(max_batch_size=32, max_latency_ms=1000)
        def predict(self, images: np.ndarray) -> np.ndarray:
            return run(images)

    return Digits


def write_model_repository(*args):
    raise NotImplementedError


dockerfile = write_model_repository


# %% wrong="deploy_files" says="nobody outside reaches that"
def write_model_repository(*args):
    raise NotImplementedError


make_bento = write_model_repository


# uvicorn's default host, which only the container itself can reach
def dockerfile():
    return """
FROM python:3.12-slim
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY service.py model.onnx ./
USER nobody
EXPOSE 8000
CMD ["uvicorn", "service:app"]
"""


# %% wrong="deploy_files" says="installs everything again"
def write_model_repository(*args):
    raise NotImplementedError


make_bento = write_model_repository


# copies everything first
def dockerfile():
    return """
FROM python:3.12-slim
COPY . .
RUN pip install --no-cache-dir -r requirements.txt
USER nobody
EXPOSE 8000
CMD ["uvicorn", "service:app", "--host", "0.0.0.0"]
"""


# %% wrong="deploy_files" says="runs as root"
def write_model_repository(*args):
    raise NotImplementedError


make_bento = write_model_repository


def dockerfile():
    return """
FROM python:3.12-slim
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
EXPOSE 8000
CMD ["uvicorn", "service:app", "--host", "0.0.0.0"]
"""


# %% wrong="deploy_files" says="does not have: every container"
def write_model_repository(*args):
    raise NotImplementedError


make_bento = write_model_repository


def dockerfile():
    return """
FROM python:3.12-slim
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
USER nobody
EXPOSE 8000
HEALTHCHECK CMD curl -f http://localhost:8000/health/live
CMD ["uvicorn", "service:app", "--host", "0.0.0.0"]
"""


# %% right="deploy_files"
def write_model_repository(folder, name, onnx_path, max_batch, delay_us):
    import onnx

    graph = onnx.load(onnx_path).graph

    def lines(values):
        for v in values:
            sizes = [d.dim_value for d in v.type.tensor_type.shape.dim][1:]
            yield f'{{ name: "{v.name}", data_type: TYPE_FP32, dims: {sizes} }}'

    version = Path(folder, name, "1")
    os.makedirs(version)
    (version / "model.onnx").write_bytes(Path(onnx_path).read_bytes())
    text = f'name: "{name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: {max_batch}\n'
    text += "input [" + ", ".join(lines(graph.input)) + "]\noutput [" + ", ".join(lines(graph.output)) + "]\n"
    text += f"dynamic_batching {{ preferred_batch_size: [{max_batch}] max_queue_delay_microseconds: {delay_us} }}\n"
    text += "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
    (version.parent / "config.pbtxt").write_text(text)


def make_bento(bentoml, run):
    class DigitReader:
        def __init__(self):
            self.run = run

        def predict(self, images: np.ndarray) -> np.ndarray:
            return self.run(images)

        predict = bentoml.api(batchable=True, batch_dim=0, max_batch_size=32, max_latency_ms=1000)(predict)

    return bentoml.service(name="digits", traffic=dict(max_concurrency=64, timeout=2.0), resources=dict(cpu="1"))(DigitReader)


def dockerfile():
    return r"""
# syntax=docker/dockerfile:1
FROM docker.io/library/python:3.11.9-slim-bookworm AS run
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
RUN useradd --create-home app
COPY ./requirements.txt ./
RUN python -m pip install \
    -r requirements.txt
COPY --chown=app . .
USER app
EXPOSE 8000/tcp
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD python -c "from urllib.request import urlopen; urlopen('http://localhost:8000/health/ready', timeout=2)"
ENTRYPOINT ["uvicorn", "service:app"]
CMD ["--host=0.0.0.0", "--port=8000"]
"""


# %% equivalent="deploy_files" because="an unknown provider is skipped and the CPU, always the last resort, takes its place"
# - session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
# + session = onnxruntime.InferenceSession(onnx_path, providers=['redivorPnoitucexEUPC'])


# %% wrong="canary" says="may still be bad luck"
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):  # forgets that it looks several times
    from scipy.stats import binomtest

    rate = (stable.failures + 1) / (stable.requests + 2)
    if binomtest(canary.failures, canary.requests, rate, alternative="greater").pvalue < alpha:
        return "rollback"
    if look < looks:
        return "continue"
    return (
        "promote" if binomtest(canary.failures, canary.requests, rate + margin, alternative="less").pvalue < alpha else "rollback"
    )


# %% wrong="canary" says="is its rate taken to be 0"
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):  # no failure yet means perfect
    from scipy.stats import binom

    rate = stable.failures / max(stable.requests, 1)
    if binom.sf(canary.failures - 1, canary.requests, rate) < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    return "promote" if binom.cdf(canary.failures, canary.requests, rate + margin) < alpha else "rollback"


# %% wrong="canary" says="the decision for stable"
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):  # compares rates: the first unlucky look ends it
    bad, good = canary.failures / canary.requests, stable.failures / max(stable.requests, 1)
    if bad > good + margin:
        return "rollback"
    return "continue" if look < looks else "promote"


# %% wrong="canary" says="not shown to be good enough"
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):  # takes "no harm seen" for "shown to be good"
    from scipy.stats import binom

    rate = (stable.failures + 1) / (stable.requests + 2)
    if binom.sf(canary.failures - 1, canary.requests, rate) < alpha / looks:
        return "rollback"
    return "continue" if look < looks else "promote"


# %% wrong="canary" says="too unlikely at the stable version's rate"
def decide(stable, canary, look, looks, margin=0.05, alpha=0.01):  # allows the margin for harm too
    from scipy.stats import binom

    rate = (stable.failures + 1) / (stable.requests + 2) + margin
    if binom.sf(canary.failures - 1, canary.requests, rate) < alpha / looks:
        return "rollback"
    if look < looks:
        return "continue"
    return "promote" if binom.cdf(canary.failures, canary.requests, rate) < alpha else "rollback"


# %% right="canary"
def decide(old, new, n, n_max, margin=0.05, alpha=0.01):
    # Without scipy: the terms of the binomial distribution, each from the one before it.
    def at_most(k, total, p):
        if k < 0:
            return 0.0
        logs = [total * math.log1p(-p)]
        for i in range(1, k + 1):
            logs.append(logs[-1] + math.log((total - i + 1) / i) + math.log(p) - math.log1p(-p))
        return math.fsum(map(math.exp, logs))

    p = (old.failures + 1) / (old.requests + 2)
    harm = at_most(new.requests - new.failures, new.requests, 1 - p)
    last = n == n_max
    proof = last and at_most(new.failures, new.requests, p + margin) < alpha
    return "rollback" if harm < alpha / n_max else "continue" if not last else "promote" if proof else "rollback"


# %% equivalent="canary" because="it differs only where a probability equals the limit to the last bit, which rounding decides"
# - if as_bad_or_worse < alpha / looks:
# + if (as_bad_or_worse <= alpha / looks):


# %% equivalent="canary" because="it differs only where a probability equals the limit to the last bit, which rounding decides"
# - return "promote" if as_good_or_better < alpha else "rollback"
# + return "promote" if (as_good_or_better <= alpha) else "rollback"


# %% wrong="demo_and_card" says="people draw dark on white"
def make_demo(run):  # feeds the drawing as it is
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" says="gr.Error is shown to the user"
def make_demo(run):  # no picture, no thought
    def classify(picture):
        small = np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        return {str(d): float(p) for d, p in enumerate(softmax(run(1 - small[None, None]))[0])}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" says="the probabilities["
def make_demo(run):  # shows the label alone, as if the model were always sure
    def classify(picture):
        if picture is None:
            raise gr.Error("Choose a picture first.")
        small = 1 - np.asarray(Image.fromarray(picture).resize((16, 16), Image.BOX), dtype=np.float32) / 255
        best = int(run(small[None, None])[0].argmax())
        return {str(d): float(d == best) for d in range(10)}

    return gr.Interface(classify, gr.Image(image_mode="L", type="numpy"), gr.Label(), api_name="classify")


def make_card(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" says="A card repeats what was measured"
def make_card(accuracy, count):  # a figure from memory, and rounded up
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    rest = "\n".join(
        f"## {name}\n\n{'Digits of one person each, in lessons about serving models. ' * 2}\n"
        for name in ("Intended use", "Limits", "Training data")
    )
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n{rest}\n## Evaluation\n\nAbout 95 % right on {count} held-out pictures of digits.\n"


def make_demo(*args):
    raise NotImplementedError


# %% wrong="demo_and_card" says="the section '## Limits' is missing"
def make_card(accuracy, count):  # a card that only praises
    result = EvalResult(
        task_type="image-classification",
        dataset_type="unit24",
        dataset_name="cluttered digits",
        metric_type="accuracy",
        metric_value=accuracy,
    )
    data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits", eval_results=[result])
    return f"---\n{data.to_yaml()}\n---\n# digits\n\n## Intended use\n\n{'For everything. ' * 5}\n\n## Evaluation\n\nAccuracy {accuracy:.1%} on {count} held-out pictures.\n"


def make_demo(*args):
    raise NotImplementedError


# %% right="demo_and_card"
def make_demo(run):
    def classify(picture):
        if picture is None:
            raise gr.Error("There is no picture yet.")
        grey = picture.convert("L").resize((16, 16), resample=Image.Resampling.BOX)
        x = torch.tensor(255.0 - np.array(grey, dtype=np.float32)).div(255).reshape(1, 1, 16, 16)
        p = torch.softmax(torch.tensor(run(x.numpy())), 1)[0].tolist()
        return dict(zip("0123456789", p))

    with gr.Blocks() as demo:
        with gr.Row():
            paper, verdict = gr.Image(type="pil"), gr.Label()
        button = gr.Button("Read it")
        button.click(classify, paper, verdict, api_name="classify")
    return demo


def make_card(accuracy, count):
    return f"""---
license: mit
pipeline_tag: image-classification
model-index:
- name: digits
  results:
  - task:
      type: image-classification
    dataset:
      type: unit24
      name: held-out cluttered digits
    metrics:
    - type: accuracy
      value: {accuracy}
---
## Intended use
Teaching. It tells ten handwritten digits apart on small grey pictures.
## Limits
Nothing but digits; blank pictures get an answer too, with a probability that means nothing.
## Training data
Digits of scikit-learn with clutter, see the course's own data module for them.
## Evaluation
It was right on {100 * accuracy:.1f} % of {count} pictures that it had not seen before.
"""


# %% equivalent="demo_and_card" because="one picture has one row of logits"
# - probabilities = softmax(run(ink[None, None]))[0]
# + probabilities = softmax(run(ink[None, None]))[(-1)]


# %% equivalent="demo_and_card" because="a label is for people"
# - paper = gr.Image(image_mode="L", type="numpy", label="a digit, dark on white")
# + paper = gr.Image(image_mode="L", type="numpy", label='etihw no krad ,tigid a')


# %% equivalent="demo_and_card" because="the task leaves the dataset's name open"
# - dataset_type="unit24",
# + dataset_type='42tinu',


# %% equivalent="demo_and_card" because="the task leaves the dataset's name open"
# - dataset_name="cluttered digits",
# + dataset_name='stigid derettulc',


# %% equivalent="demo_and_card" because="the task leaves the model's name open"
# - data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name="digits-cnn-ten", eval_results=[result])
# + data = ModelCardData(license="mit", pipeline_tag="image-classification", model_name='net-nnc-stigid', eval_results=[result])


# %% equivalent="demo_and_card" because="how many of the ten are shown is a matter of taste"
# - classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
# + classify, paper, gr.Label(num_top_classes=4, label="the model says"), api_name="classify", flagging_mode="never"


# %% equivalent="demo_and_card" because="how many of the ten are shown is a matter of taste"
# - classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
# + classify, paper, gr.Label(num_top_classes=2, label="the model says"), api_name="classify", flagging_mode="never"


# %% equivalent="demo_and_card" because="a label is for people"
# - classify, paper, gr.Label(num_top_classes=3, label="the model says"), api_name="classify", flagging_mode="never"
# + classify, paper, gr.Label(num_top_classes=3, label='syas ledom eht'), api_name="classify", flagging_mode="never"
