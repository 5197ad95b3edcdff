"""Times of torch.nn.functional.scaled_dot_product_attention, backend by backend."""

import warnings

MAX_WARM_UPS = 3  # as fovea_cuda_bench


class TorchAttention:
    @staticmethod
    def open(samples):
        """None, and a line that says why, where PyTorch cannot measure."""
        try:
            import torch
        except ImportError:
            print("torch is not here: fovea is measured alone")
            return None
        if not torch.cuda.is_available():
            print("torch finds no GPU: fovea is measured alone")
            return None
        return TorchAttention(torch, samples)

    def __init__(self, torch, samples):
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
        l2_bytes = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 64 << 20)
        self.flush = torch.empty(4 * l2_bytes, dtype=torch.uint8, device="cuda")

    def measure(self, shape):
        """{backend: {"milliseconds": …} or {"error": why it has no time}} for a shape of fovea_cuda_bench."""
        torch = self.torch
        dtype = getattr(torch, shape["dtype"])
        if shape["rules"] not in ("", "bias", "mask"):
            return {name: {"error": f"no {shape['rules']}"} for name in self.backends}

        def tensor(heads, length):
            return torch.randn(shape["batch"], heads, length, shape["headDim"], dtype=dtype, device="cuda")

        figures = {}
        try:
            query = tensor(shape["heads"], shape["queryLength"])
            key = tensor(shape["kvHeads"], shape["keyLength"])
            value = tensor(shape["kvHeads"], shape["keyLength"])
            mask = self.mask(shape, dtype)
        except torch.cuda.OutOfMemoryError:
            return {name: {"error": "out of memory"} for name in self.backends}
        # Causal shapes have as many keys as queries, where all agree on what causal means.
        options = {"is_causal": shape["causal"], "attn_mask": mask}
        if shape["heads"] != shape["kvHeads"]:
            options["enable_gqa"] = True
        attention = torch.nn.functional.scaled_dot_product_attention
        for name, backend in self.backends.items():
            try:
                with warnings.catch_warnings(), self.sdpa_kernel([backend]):
                    warnings.simplefilter("ignore")  # they say why a backend cannot do it; so does the error
                    figures[name] = {"milliseconds": self.median(lambda: attention(query, key, value, **options))}
            except torch.cuda.OutOfMemoryError:
                figures[name] = {"error": "out of memory"}
            except (RuntimeError, TypeError) as error:  # TypeError: this torch has no enable_gqa
                figures[name] = {"error": str(error).split("\n")[0]}
        del query, key, value, mask, options
        torch.cuda.empty_cache()  # fovea needs the memory
        return figures

    def mask(self, shape, dtype):
        """What is added to scores, or which of them count: one for the whole batch."""
        pairs = (1, shape["heads"], shape["queryLength"], shape["keyLength"])
        if shape["rules"] == "bias":
            return self.torch.randn(pairs, dtype=dtype, device="cuda")
        return self.torch.ones(pairs, dtype=self.torch.bool, device="cuda") if shape["rules"] == "mask" else None

    def median(self, call):
        cuda = self.torch.cuda
        times = []
        for sample in range(-min(MAX_WARM_UPS, self.samples), self.samples):
            self.flush.zero_()
            start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            end.synchronize()
            if sample >= 0:
                times.append(start.elapsed_time(end))
        return sorted(times)[len(times) // 2]
