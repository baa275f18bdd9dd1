# docker build -t nuclei . && docker run --rm -v "$PWD:/data" nuclei predict input=/data/images output=/data/found
FROM python:3.12-slim
WORKDIR /project
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN pip install --no-cache-dir --no-deps . \
    && useradd --create-home biologist
ENV NUMBA_CACHE_DIR=/tmp/nuclei-loops
USER biologist
WORKDIR /data
ENTRYPOINT ["nuclei"]
CMD ["help"]
