"""Find the network's weights, and their licence, in the package that carries them."""

from importlib.metadata import PackageNotFoundError, distribution


def recognition_weights() -> dict[str, str]:
    """Return the paths of PP-OCRv6's recognition network, its licence and notice.

    The files are read where pip put them; none of the package's code runs.
    """
    try:
        package = distribution("rapidocr")
    except PackageNotFoundError:
        raise ModuleNotFoundError(
            "no package rapidocr, which carries the weights; "
            "pip install --no-deps -r requirements-data.txt"
        ) from None
    licenses = f"rapidocr-{package.version}.dist-info/licenses"
    files = {
        "weights": "rapidocr/models/PP-OCRv6_rec_small.onnx",
        "license": f"{licenses}/LICENSE",
        "notice": f"{licenses}/MODEL_LICENSES.md",
    }
    return {name: str(package.locate_file(file)) for name, file in files.items()}
