# The tap and the target, and nothing else that runs: no pip, no runner, no loader.
#
#     docker build --tag tap-braze-sms .
#     docker run --rm --env-file .env --volume "$PWD/state.json:/data/state.json:ro" \
#         tap-braze-sms --config=ENV --state state.json
#     docker run --rm --env-file .env --interactive --entrypoint target-braze-sms \
#         tap-braze-sms --config=ENV < verified.singer
#
# The tests lint this file and carry out the steps of its build stage; they need no container engine, so the image
# itself they never build.

# By tag: to build the same image again, name a digest here (python:3.13-slim@sha256:…).
FROM python:3.13-slim AS base

FROM base AS build
WORKDIR /source
COPY requirements/constraints.txt requirements/
RUN python -m pip install --no-cache-dir --constraint requirements/constraints.txt hatchling
COPY LICENSE README.md pyproject.toml ./
COPY tools/description.py tools/
COPY schemas schemas
COPY tap_braze_sms tap_braze_sms
RUN python -m hatchling build --target wheel --directory /wheels
RUN python -m venv --without-pip /opt/tap-braze-sms \
    && python -m pip --python /opt/tap-braze-sms/bin/python install --no-cache-dir \
        --constraint requirements/constraints.txt /wheels/*.whl

FROM base
LABEL org.opencontainers.image.title="tap-braze-sms" \
    org.opencontainers.image.description="Singer tap for Braze's invalid-phone-number list, and the Singer target that takes numbers off it again" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN python -m pip uninstall --yes --root-user-action=ignore pip
# At the path it was made for: the commands of a virtual environment name their Python.
COPY --from=build /opt/tap-braze-sms /opt/tap-braze-sms
ENV PATH=/opt/tap-braze-sms/bin:$PATH
# A number, so that an orchestrator sees that it is not root.
USER 65532:65532
WORKDIR /data
# Without a shell: signals reach the tap itself, which ends with a last STATE. It writes in buffers of its own and
# flushes them with every STATE, so PYTHONUNBUFFERED would change nothing.
ENTRYPOINT ["tap-braze-sms"]
