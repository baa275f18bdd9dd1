# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Nuclei: a submission without internet
#
# Inputs: the competition, and the dataset that `./run.sh bundle` and `./run.sh push` made. Every image under
# `stage1_test` is predicted, whichever these are when the notebook runs. It writes `submission.csv`, and a
# record of how that was made beside it.

# %%
import json
import os
import sys
import time
import zipfile
from pathlib import Path

BEGIN = time.monotonic()
INPUT, WORKING, TEMP = (Path("/kaggle") / name for name in ("input", "working", "temp"))

# %% [markdown]
# ## The bundle
# Kaggle unpacks the dataset's zip; where it has not, that is done here. What its image lacks goes into a
# folder of its own, so that nothing of the image changes.

# %%
for folder, _, files in os.walk(INPUT):
    if "nuclei.zip" in files:
        zipfile.ZipFile(Path(folder) / "nuclei.zip").extractall(TEMP / "bundle")
found = [
    Path(folder) for place in (TEMP, INPUT) for folder, _, files in os.walk(place) if "bundle.json" in files
]
if not found:
    sys.exit(f"no bundle under {INPUT}: attach the dataset that ./run.sh push made as an input")
bundle = found[0]
sys.path.insert(0, str(bundle / "project" / "src"))
from nuclei.kaggle.bundle import find, install, run  # noqa: E402 - it lies in the bundle

settings = json.loads((bundle / "bundle.json").read_text())
environment = install(bundle, TEMP / "packages")
print(f"{bundle}: {settings}")

# %% [markdown]
# ## The submission
# The same command as at home. It says how many images it does in a second, and averages fewer views of the
# images that are left where the time limit would be missed.

# %%
competition = find(INPUT, "stage1_test", "stage1_test.zip").parent
words = [
    "submission",
    "name=submission",
    f"data={settings['data']}",
    f"ensemble={settings['ensemble']}",
    f"tta={settings['tta'] or 'null'}",
    f"images={competition}",
    f"paths.runs={bundle / 'runs'}",
    f"paths.ensembles={bundle / 'ensembles'}",
    f"paths.submissions={WORKING}",
    f"time_limit={settings['time_limit'] - (time.monotonic() - BEGIN):.1f}",
]
run(words, environment)
print(f"{time.monotonic() - BEGIN:.0f} s in all")
