"""Chromium from a wheel: QtWebEngine without a screen, driven through a local port."""

import os
import sys
from importlib import import_module


def main(port: str) -> None:
    """Runs until it is killed."""
    os.environ |= {
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_REMOTE_DEBUGGING": f"127.0.0.1:{port}",
        "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox --disable-gpu",
    }
    # Not by import statements, which a type checker would follow: few have it installed.
    core, widgets, web = map(
        import_module, ("PySide6.QtCore", "PySide6.QtWidgets", "PySide6.QtWebEngineWidgets")
    )
    application = widgets.QApplication([])
    view = web.QWebEngineView()
    view.load(core.QUrl("about:blank"))
    view.show()
    application.exec()


if __name__ == "__main__":
    main(sys.argv[1])
