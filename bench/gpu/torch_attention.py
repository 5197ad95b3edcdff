"""Times of PyTorch's attention: torch.nn.functional.scaled_dot_product_attention, backend by backend, and flex_attention."""

import time
import warnings

from torch_flex import FlexAttention

# As fovea_cuda_bench: so many calls at most if they are few, and as long as it takes an idle GPU to raise its clock.
MAX_WARM_UPS, WARM_UP_SECONDS = 3, 0.03
BUSY_CYCLES = 1_000_000  # half a millisecond
MASKED = ("", "bias", "bias of all heads", "mask", "key padding", "mask of texts", "key lengths", "window", "alibi",
          "grouped heads")


def reason(error):
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:300]


class TorchAttention:
    @staticmethod
    def open(samples, compile_seconds):
        """None, and a line that says why, where PyTorch cannot measure."""
        try:
            import torch

            if torch.cuda.is_available():
                return TorchAttention(torch, samples, compile_seconds)
            print("torch finds no GPU: fovea is measured alone")
        except ImportError:
            print("torch is not here: fovea is measured alone")
        except Exception as error:
            print(f"torch fails ({reason(error)}): fovea is measured alone")
        return None

    def __init__(self, torch, samples, compile_seconds):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        self.torch = torch
        self.samples = samples
        self.version = f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
        self.sdpa_kernel = sdpa_kernel
        names = {
            "math": "MATH",
            "flash": "FLASH_ATTENTION",
            "efficient": "EFFICIENT_ATTENTION",
            "cudnn": "CUDNN_ATTENTION",
        }
        known = {name: member for name, member in names.items() if hasattr(SDPBackend, member)}
        self.backends = {name: getattr(SDPBackend, member) for name, member in known.items()}
        self.flex = FlexAttention(torch, compile_seconds)
        l2_bytes = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 64 << 20)
        self.flush = torch.empty(4 * l2_bytes, dtype=torch.uint8, device="cuda")

    def measure(self, shape):
        """{backend: {"milliseconds": …} or {"error": why it has no time}} for a shape of fovea_cuda_bench."""
        figures = {name: {"error": f"no {shape['rules']}"} for name in self.backends}  # until there is one
        with_mask, by_flex = shape["rules"] in MASKED, self.flex.has(shape)
        if not with_mask and not by_flex:
            return figures
        try:
            tensors = self.tensors(shape)
            for name, backend in self.backends.items() if with_mask else ():
                with warnings.catch_warnings(), self.sdpa_kernel([backend]):
                    warnings.simplefilter("ignore")  # they say why a backend cannot do it; so does the error
                    figures[name] = self.figure(lambda: self.call(shape, tensors))
            if by_flex:
                figures["flex"] = self.figure(lambda: self.flex.compile(shape, *tensors))
            del tensors
            self.torch.cuda.empty_cache()  # fovea needs the memory
        except Exception as error:  # a lost device, say; fovea goes on
            figures |= {name: {"error": reason(error)} for name in figures if "milliseconds" not in figures[name]}
        return figures

    def tensors(self, shape):
        def tensor(heads, length):
            sizes = (shape["batch"], heads, length, shape["headDim"])
            return self.torch.randn(sizes, dtype=getattr(self.torch, shape["dtype"]), device="cuda")

        heads, keys = shape["kvHeads"], shape["keyLength"]
        return [tensor(shape["heads"], shape["queryLength"]), tensor(heads, keys), tensor(heads, keys)]

    def call(self, shape, tensors):
        mask = self.mask(shape, tensors[0].dtype)
        # Causal shapes have as many keys as queries, where all agree on what causal means.
        options = {"attn_mask": mask, "is_causal": shape["causal"] and mask is None}
        if shape["heads"] != shape["kvHeads"]:
            options["enable_gqa"] = True
        return lambda: self.torch.nn.functional.scaled_dot_product_attention(*tensors, **options)

    def mask(self, shape, dtype):
        """What is added to scores, or which of them count, made beforehand; None where nothing is needed."""
        torch, rule = self.torch, shape["rules"]
        heads, queries, keys = shape["heads"], shape["queryLength"], shape["keyLength"]
        key = torch.arange(keys, device="cuda")
        if rule == "bias":
            return torch.randn((1, heads, queries, keys), dtype=dtype, device="cuda")
        if rule == "bias of all heads":
            return torch.randn((1, 1, queries, keys), dtype=dtype, device="cuda")
        if rule == "mask":
            return torch.randint(2, (1, heads, queries, keys), dtype=torch.bool, device="cuda")
        if rule in ("key padding", "key lengths"):
            return key < torch.tensor(shape["keyLengths"], device="cuda")[:, None, None, None]
        if rule == "mask of texts":
            return (8 * key // keys == 8 * torch.arange(queries, device="cuda")[:, None] // queries)[None, None]
        before = torch.arange(queries, device="cuda")[:, None] + keys - queries - key  # keys from one to the query's own
        if rule == "window":
            seen = before <= shape["window"]
            return (seen & (before >= 0) if shape["causal"] else seen)[None, None]
        if rule == "alibi":
            bias = -self.flex.slopes(heads)[:, None, None] * before.abs()
            return (bias.masked_fill(before < 0, float("-inf")) if shape["causal"] else bias).to(dtype)[None]
        return None

    def figure(self, prepare):
        """The time of what `prepare` returns, or why there is none."""
        try:
            return {"milliseconds": self.median(prepare())}
        except self.torch.cuda.OutOfMemoryError:
            return {"error": "out of memory"}
        except Exception as error:
            return {"error": reason(error)}

    def median(self, call):
        warm, began = 0, time.monotonic()
        while warm < min(MAX_WARM_UPS, self.samples) or time.monotonic() - began < WARM_UP_SECONDS:
            self.time(call)
            warm += 1
        times = sorted(self.time(call) for _ in range(self.samples))
        return times[len(times) // 2]

    def time(self, call):
        """Milliseconds of one call, with nothing of it in the L2 cache."""
        cuda = self.torch.cuda
        start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self.flush.zero_()
        # The GPU must not have done before everything is enqueued, or the time would be the host's.
        cuda._sleep(BUSY_CYCLES)
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)
