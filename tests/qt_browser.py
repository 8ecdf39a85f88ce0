"""A Chromium that comes as a wheel: QtWebEngine without a screen, to be driven at a port of this machine."""

import os
import sys


def main(port: str) -> None:
    """Runs until it is killed."""
    os.environ |= {
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_REMOTE_DEBUGGING": f"127.0.0.1:{port}",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu",
    }
    from PySide6.QtCore import QUrl  # pyright: ignore[reportMissingImports]
    from PySide6.QtWebEngineWidgets import QWebEngineView  # pyright: ignore[reportMissingImports]
    from PySide6.QtWidgets import QApplication  # pyright: ignore[reportMissingImports]

    application = QApplication([])
    view = QWebEngineView()
    view.load(QUrl("about:blank"))
    view.show()
    application.exec()


if __name__ == "__main__":
    main(sys.argv[1])
