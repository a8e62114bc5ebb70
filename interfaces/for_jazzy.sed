# Makes pyproject.toml ask for Jazzy's wheels instead of Kilted's (make jazzy).
s/==0\.17\.2/==0.16.4/
s/==2\.7\.3/==2.5.4/
s/==0\.3\.1/==0.2.0/
s/==1\.7\.1/==1.6.0/
s/==5\.5\.1/==5.3.6/
# There, ament_cmake_ros still brings what tests need.
s/"ros-ament-cmake-ros-core==0\.14\.5",/"ros-ament-cmake-ros==0.12.0", "ros-ament-cmake-gmock==2.5.4", "ros-ament-cmake-gtest==2.5.4", "ros-ament-cmake-pytest==2.5.4", "ros-python-cmake-module==0.11.1",/
