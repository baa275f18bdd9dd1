# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Nuclei: training without internet
#
# Inputs: the competition, and the dataset that `./run.sh bundle` and `./run.sh push` made. It trains as the
# dataset's `bundle.json` says, best on a GPU; the finished run is in the notebook's output.

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
# ## Prepare and train
# The same commands as at home.

# %%
competition = find(INPUT, "stage1_train", "stage1_train.zip").parent
data = [
    f"data={settings['data']}",
    f"data.root={competition}",
    f"data.store={TEMP / 'data.store'}",
    f"data.folds={bundle / 'folds' / settings['data']}.csv",
]
run(["prepare", *data], environment)
run(["train", *data, f"paths.runs={WORKING / 'runs'}", *settings["train"]], environment)
print(f"{time.monotonic() - BEGIN:.0f} s in all")
