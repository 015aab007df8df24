# SPDX-License-Identifier: Apache-2.0
"""Compiles a small network to AOTInductor packages, for the CPU and for CUDA, with an input and what
it must give: FOLDER/cpu.pt2, cpu.input, cpu.expected and the same for cuda. For call_test.cc.

    python3 tests/cuda/export_packages.py FOLDER
"""
import pathlib
import sys

import torch


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for _ in range(6):
            layers += [torch.nn.Linear(256, 256), torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(1)
for device in ("cpu", "cuda"):
    network = Network().to(device).eval()
    example = torch.randn(8, 256, device=device)
    with torch.no_grad():
        program = torch.export.export(network, (example,))
        torch._inductor.aoti_compile_and_package(program, package_path=str(folder / f"{device}.pt2"))
        expected = network(example)
    for name, tensor in (("input", example), ("expected", expected)):
        (folder / f"{device}.{name}").write_bytes(tensor.cpu().contiguous().numpy().tobytes())
    print(device, "compiled", flush=True)
