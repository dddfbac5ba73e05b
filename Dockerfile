# docker build --tag trustmm . && docker run --rm trustmm            # the demo
# docker run --rm --volume "$PWD/outputs:/home/trustmm/outputs" trustmm backbone=mgcn   # any other command; keeps results
# For GPUs: docker build --build-arg TORCH=https://pypi.org/simple ..., and docker run --gpus all ...
FROM python:3.11-slim
ARG TORCH=https://download.pytorch.org/whl/cpu
WORKDIR /opt/trustmm
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY trustmm trustmm
COPY hydra_plugins hydra_plugins
COPY conf conf
COPY multirun_templates multirun_templates
RUN pip install --no-cache-dir --extra-index-url "$TORCH" --constraint constraints.txt . \
    && useradd --create-home trustmm
USER trustmm
WORKDIR /home/trustmm
ENTRYPOINT ["trustmm"]
CMD ["demo"]
