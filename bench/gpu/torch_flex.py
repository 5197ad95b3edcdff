"""PyTorch's flex_attention for the rules that it is made for. Triton compiles each shape, which takes seconds."""

import signal
import time

SOFTCAP = 30  # as fovea_cuda_bench
LONGEST = 20  # seconds for one shape


class FlexAttention:
    def __init__(self, torch, seconds):
        """`seconds`: for compiling, of all shapes together."""
        self.torch = torch
        self.seconds = self.left = seconds

    def has(self, shape):
        return shape["rules"] in ("softcap", "alibi", "window", "key lengths", "mask of texts") and shape["dtype"] != "float32"

    def slopes(self, heads):
        return 2.0 ** (-8 * self.torch.arange(1, heads + 1, device="cuda") / heads)

    def compile(self, shape, query, key, value):
        """A call, ready to be timed. Raises what prevents it, TimeoutError when it takes too long."""
        if self.left <= 0:
            raise TimeoutError(f"compiling had its {self.seconds:g} s")
        limit, began = min(self.left, LONGEST), time.monotonic()

        def interrupt(*_):
            raise TimeoutError(f"not compiled within {limit:.3g} s")

        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            import torch._dynamo
            import torch._inductor.config
            from torch.nn.attention.flex_attention import flex_attention

            torch._inductor.config.compile_threads = 1  # processes of its own would outlive the limit
            torch._dynamo.reset()  # else, after some shapes, it would no longer compile but interpret
            compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
            options = self.options(shape)
            compiled(query, key, value, **options)
            torch.cuda.synchronize()
            return lambda: compiled(query, key, value, **options)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            self.left -= time.monotonic() - began

    def options(self, shape):
        from torch.nn.attention.flex_attention import create_block_mask

        torch, rule, causal, window = self.torch, shape["rules"], shape["causal"], shape["window"]
        queries, keys = shape["queryLength"], shape["keyLength"]
        offset = keys - queries
        options = {"enable_gqa": True} if shape["heads"] != shape["kvHeads"] else {}
        if rule == "softcap":
            options["score_mod"] = lambda score, b, h, q, k: SOFTCAP * torch.tanh(score / SOFTCAP)
        if rule == "alibi":
            slopes = self.slopes(shape["heads"])
            options["score_mod"] = lambda score, b, h, q, k: score - slopes[h] * (q + offset - k).abs()
        seen, batch = None, None
        if rule == "window" and causal:
            seen = lambda b, h, q, k: (q + offset >= k) & (q + offset - k <= window)
        elif rule == "window":
            seen = lambda b, h, q, k: q + offset - k <= window
        elif rule == "key lengths":
            lengths, batch = torch.tensor(shape["keyLengths"], device="cuda"), shape["batch"]
            seen = lambda b, h, q, k: k < lengths[b]
        elif rule == "mask of texts":
            seen = lambda b, h, q, k: 8 * k // keys == 8 * q // queries
        elif causal:
            seen = lambda b, h, q, k: q + offset >= k
        if seen:
            options["block_mask"] = create_block_mask(seen, batch, None, queries, keys, device="cuda")
        return options
