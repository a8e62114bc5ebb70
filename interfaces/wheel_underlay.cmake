# Makes the ros-* wheels usable as an underlay. Given as CMAKE_PROJECT_INCLUDE, so that CMake reads it
# after every project(); on a ROS installation nobody reads it. What the wheels lack:
#
# 1. Their CMake files are in <prefix>/share beside site-packages, where CMake does not look.
# 2. Their targets name include folders of the machine that built them, which do not exist here, and
#    CMake refuses those when it generates.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
execute_process(
  COMMAND "${Python3_EXECUTABLE}" -c
    "import pathlib, rosidl_pycommon as r; print(pathlib.Path(r.__file__).resolve().parents[4])"
  OUTPUT_VARIABLE _wheel_prefix
  OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)
list(PREPEND CMAKE_PREFIX_PATH "${_wheel_prefix}")
# After what a workspace has already, and once only.
if(NOT ":$ENV{AMENT_PREFIX_PATH}:" MATCHES ":${_wheel_prefix}:")
  set(ENV{AMENT_PREFIX_PATH} "$ENV{AMENT_PREFIX_PATH}:${_wheel_prefix}")
endif()

function(_drop_missing_includes)
  get_property(_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(_target IN LISTS _targets)
    get_target_property(_folders ${_target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT _folders)
      continue()
    endif()
    set(_present "")
    foreach(_folder IN LISTS _folders)
      if(_folder MATCHES "^\\$<" OR EXISTS "${_folder}")
        list(APPEND _present "${_folder}")
      endif()
    endforeach()
    set_target_properties(${_target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${_present}")
  endforeach()
endfunction()
cmake_language(DEFER CALL _drop_missing_includes)
