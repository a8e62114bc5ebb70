# Makes pyproject.toml ask for Jazzy's wheels instead of Kilted's (make jazzy; what it builds with is there).
s/[~=]=1\.7\.1/==1.6.0/
s/[~=]=5\.5\.1/==5.3.6/
