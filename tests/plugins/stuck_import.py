"""Never imported to its end; see `prolific.Stuck`."""

import os
import subprocess
import time

subprocess.Popen(["sleep", "600"])
with open(os.environ["PROLIFIC_LOG"], "a") as file:
    file.write("importing\n")
time.sleep(600)
