"""Tests compute on the CPU, also where there is a GPU, unless HEADSTART_TEST_GPU=1 asks for it."""

import os


def pytest_configure():
    if os.environ.get("HEADSTART_TEST_GPU") != "1":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
